// Bundles what ships into dist/: the command line with the agent, and the programs it starts (runner, precompiler,
// errand), sharing their chunks.
import { rename, rm, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const root = new URL('..', import.meta.url).pathname;
// Beside, then moved: a source that can't be built leaves the last bundle as it was.
const outdir = `${root}dist.new`;
await rm(outdir, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    loamlet: 'src/main.ts',
    runner: 'src/runner/main.ts',
    precompile: 'src/precompile/main.ts',
    errand: 'src/cluster/errand/main.ts',
  },
  outdir,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node26',
  minify: true,
  keepNames: true,
  legalComments: 'linked',
  metafile: true,
  logLevel: 'warning',
  // Addons are found where npm put them.
  external: ['better-sqlite3', 'i2c-bus', 'onoff'],
  // CommonJS packages inside an ES module bundle call require().
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
});
await writeFile(`${outdir}/meta.json`, JSON.stringify(metafile));
await writeFile(`${outdir}/.built`, '');
await rm(`${root}dist`, { recursive: true, force: true });
await rename(outdir, `${root}dist`);
