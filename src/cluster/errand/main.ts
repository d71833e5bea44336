/** The child that runs one errand: JSON on its standard input, JSON on its standard output, and it ends. */
import type { RequestOptions } from 'node:https';
import { json } from 'node:stream/consumers';
import { errorLine } from '../../base/errors.ts';
import { loadKubeconfig, plainHeaders } from '../kubeconfig.ts';
import type { Errand, ErrandAnswer, KubeconfigOnce } from './errand.ts';

async function run(errand: Errand): Promise<unknown> {
  switch (errand.type) {
    case 'request':
      return (await import('./x509.ts')).certificateRequest(errand.nodeName, errand.names);
    case 'self-signed':
      return (await import('./x509.ts')).selfSigned(errand.nodeName, errand.names);
    case 'kubeconfig':
      return readKubeconfig(errand.path);
    default:
      return errand satisfies never;
  }
}

async function readKubeconfig(path: string): Promise<KubeconfigOnce> {
  const { config, address, special } = await loadKubeconfig(path);
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const { server, ca, tlsServerName } = address;
  const certificate = pem(options.cert);
  const key = pem(options.key);
  return {
    server,
    ...(ca !== undefined && { ca }),
    ...(tlsServerName !== undefined && { tlsServerName }),
    ...(special !== undefined && { special }),
    headers: plainHeaders(options),
    ...(certificate !== undefined && key !== undefined && { certificate, key }),
  };
}

function pem(value: RequestOptions['cert'] | RequestOptions['key']): string | undefined {
  return typeof value === 'string' ? value : Buffer.isBuffer(value) ? value.toString() : undefined;
}

async function answer(): Promise<ErrandAnswer> {
  try {
    return { ok: await run((await json(process.stdin)) as Errand) };
  } catch (error) {
    return { error: errorLine(error) };
  }
}

process.stdout.write(JSON.stringify(await answer()));
