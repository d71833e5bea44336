import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { version } from '../../../src/base/version.ts';

it("is package.json's version", () => {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
  expect(manifest).toMatchObject({ version });
});
