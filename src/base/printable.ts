/** Text from outside, fit for one line of a log, a status or a terminal: printable ASCII, at most `max` characters. */
export function printable(text: string, max = 200): string {
  const line = text.slice(0, max + 1).replace(/[^\x20-\x7e]/g, '?');
  return line.length > max ? `${line.slice(0, max - 3)}...` : line;
}
