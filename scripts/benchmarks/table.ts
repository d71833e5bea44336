import { missed, type Figure } from './figure.ts';

/** One line a figure, missed goals marked; notes under their figure, so that lines stay short. */
export function printTable(figures: readonly Figure[]): void {
  const rows = figures.map((each) => [
    each.name,
    each.value === null ? '-' : round(each.value),
    each.unit,
    each.goal === null ? '' : round(each.goal),
    missed(each) ? 'MISSED' : each.goal === null ? '' : 'ok',
  ]);
  const head = ['figure', 'value', 'unit', 'goal', ''];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column === 1 || column === 3 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  process.stdout.write(`${line(head)}\n`);
  rows.forEach((row, index) => {
    process.stdout.write(`${line(row)}\n`);
    process.stdout.write(`    ${figures[index]!.note}\n`);
  });
}

function round(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)));
}
