/** The smallest module there is, made different from others by a custom section that holds `text`. */
export function tinyModule(text = ''): Buffer {
  const header = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  const content = Buffer.from(text);
  if (content.byteLength === 0) return header;
  return Buffer.concat([header, Buffer.from([0, ...leb128(content.byteLength + 2), 1, 0x74]), content]);
}

function leb128(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}
