import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, onTestFinished, test, vi } from 'vitest';
import { registerImages } from '../../../src/images/commands.ts';
import { Registry } from '../../support/registry.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { tinyModule } from '../../support/wasm.ts';

async function loamlet(...args: string[]): Promise<string> {
  const program = new Command('loamlet').exitOverride();
  registerImages(program);
  let out = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text);
    return true;
  });
  try {
    await program.parseAsync(['node', 'loamlet', ...args]);
  } finally {
    write.mockRestore();
  }
  return out;
}

test('what push prints is what pull takes', async () => {
  const registry = await Registry.start();
  const folder = await tempFolder();
  onTestFinished(async () => {
    await registry[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });
  const module = join(folder.path, 'soil.wasm');
  const output = join(folder.path, 'pulled.wasm');
  await writeFile(module, tinyModule('by command'));
  const printed = await loamlet('push', module, `${registry.host}/garden/soil:0.1`);
  expect(printed).toMatch(/^127\.0\.0\.1:\d+\/garden\/soil@sha256:[0-9a-f]{64}\n$/);
  expect(await loamlet('pull', printed.trim(), '-o', output)).toBe(`${output} ${printed}`);
  expect(await readFile(output)).toEqual(await readFile(module));
});
