import { expect, test } from 'vitest';
import { LineAssembler } from '../../../../src/pods/logs/line-assembler.ts';
import { maxRecordContent, parseRecord, recordTime } from '../../../../src/pods/logs/record.ts';

const at = Date.UTC(2026, 10, 22, 21, 0, 0, 123);

function texts(records: Iterable<Buffer>): string[] {
  return [...records].map(String);
}

test('writes a line in the format of the container runtime interface', () => {
  const lines = new LineAssembler('stdout');
  expect(texts(lines.add(Buffer.from('soil-moisture 41.5 %\n'), at))).toEqual([
    '2026-11-22T21:00:00.123000000Z stdout F soil-moisture 41.5 %\n',
  ]);
});

test('puts a line together that was written in pieces, and dates it by its end', () => {
  const lines = new LineAssembler('stderr');
  expect(texts(lines.add(Buffer.from('so'), at))).toEqual([]);
  for (let i = 0; i < 40; i += 1) expect(texts(lines.add(Buffer.from('.'), at))).toEqual([]);
  expect(texts(lines.add(Buffer.from('il\n\nnext'), at + 1))).toEqual([
    `2026-11-22T21:00:00.124000000Z stderr F so${'.'.repeat(40)}il\n`,
    '2026-11-22T21:00:00.124000000Z stderr F \n',
  ]);
});

test('keeps what it holds back even when the writer uses the buffer again', () => {
  const lines = new LineAssembler('stdout');
  const buffer = Buffer.from('abc');
  expect(texts(lines.add(buffer, at))).toEqual([]);
  buffer.fill('x');
  expect(texts(lines.add(Buffer.from('\n'), at))[0]).toMatch(/ F abc\n$/);
});

test('splits a long line into parts of 16 KiB, the last of them full', () => {
  const lines = new LineAssembler('stdout');
  const long = 'a'.repeat(2 * maxRecordContent + 5);
  const records = [...lines.add(Buffer.from(`${long}\n`), at)].map((record) => parseRecord(record.subarray(0, -1)));
  expect(records.map((record) => [record?.partial, record?.content.byteLength])).toEqual([
    [true, maxRecordContent],
    [true, maxRecordContent],
    [false, 5],
  ]);
});

test('a line of exactly 16 KiB is one record', () => {
  const lines = new LineAssembler('stdout');
  const records = texts(lines.add(Buffer.from(`${'a'.repeat(maxRecordContent)}\n`), at));
  expect(records).toHaveLength(1);
  expect(records[0]).toContain(' F a');
});

test('never holds back more than one record, however much comes without a line feed', () => {
  const lines = new LineAssembler('stdout');
  let parts = 0;
  for (let i = 0; i < 100; i += 1) parts += [...lines.add(Buffer.alloc(10_000, 'b'), at)].length;
  expect(parts).toBe(Math.floor(1_000_000 / maxRecordContent));
});

test('ends an unfinished line at the end of the container, and leaves it open for the next agent', () => {
  const lines = new LineAssembler('stdout');
  expect(texts(lines.add(Buffer.from('half'), at))).toEqual([]);
  expect(texts(lines.flush('P'))).toEqual(['2026-11-22T21:00:00.123000000Z stdout P half\n']);
  // What was handed over as a part needs its end, even without more content.
  expect(texts(lines.flush('F'))).toEqual(['2026-11-22T21:00:00.123000000Z stdout F \n']);
  expect(texts(lines.flush('F'))).toEqual([]);
});

test('passes any bytes through', () => {
  const lines = new LineAssembler('stdout');
  const bytes = Buffer.from([0, 0xff, 0x1b, 0x0d, 0x0a]);
  const [record] = [...lines.add(bytes, at)];
  expect([...(parseRecord(record?.subarray(0, -1) ?? bytes)?.content ?? [])]).toEqual([0, 0xff, 0x1b, 0x0d]);
});

test('a time that no calendar has becomes the epoch, microseconds are kept', () => {
  for (const wrong of [NaN, -1, Infinity, 1e300]) expect(recordTime(wrong)).toBe('1970-01-01T00:00:00.000000000Z');
  expect(recordTime(1.5)).toBe('1970-01-01T00:00:00.001500000Z');
});

test('what is no record parses as none', () => {
  const good = '2026-11-22T21:00:00.123000000Z stdout F x';
  expect(parseRecord(Buffer.from(good))?.time).toBe('2026-11-22T21:00:00.123000000Z');
  for (const bad of [
    '',
    '\0'.repeat(60),
    good.slice(0, 39),
    good.replace('stdout', 'stdxxx'),
    good.replace(' F ', ' Q '),
  ]) {
    expect(parseRecord(Buffer.from(bad))).toBeUndefined();
  }
});
