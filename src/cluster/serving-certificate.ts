import { join } from 'node:path';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { ApiClient } from './api-client.ts';
import { inspect, renewalTime, type KeyedCertificate } from './certificate.ts';
import { certificateRequest, selfSigned } from './errand/errand.ts';
import { hasCode } from './errors.ts';
import { readIfThere, writePrivateFile } from './private-file.ts';
import { Backoff, sleep, sleepUntil } from './retry.ts';
import { awaitCertificate, fileRequest } from './signing.ts';

export interface ServingOptions {
  readonly nodeName: string;
  readonly stateDirectory: string;
  readonly log: Logger;
}

/** A request somebody may still approve, also after a restart of the agent. */
interface PendingRequest {
  readonly name: string;
  readonly key: string;
  readonly address: string;
}

/**
 * The kubelet port's own certificate. It is signed by the cluster once a person has approved it; until then the port
 * shows a self-signed one, which `kubectl logs` refuses where the API server verifies kubelets.
 * Files: `pki/kubelet-serving.json`, `pki/kubelet-self-signed.json`, `pki/kubelet-pending.json`.
 */
export class ServingCertificate {
  readonly #options: ServingOptions;

  constructor(options: ServingOptions) {
    this.#options = options;
  }

  /** The best certificate there is now: signed, else self-signed (made and kept when there is none). */
  async current(address: string | undefined): Promise<KeyedCertificate> {
    const signed = await this.#load('kubelet-serving', address);
    if (signed !== undefined) return signed;
    const own = await this.#load('kubelet-self-signed', address);
    if (own !== undefined) return own;
    const { nodeName } = this.#options;
    const { pem, key } = await selfSigned(nodeName, {
      dnsNames: [nodeName],
      ipAddresses: address === undefined ? [] : [address],
    });
    const made = { certificate: pem, key };
    await this.#save('kubelet-self-signed', made);
    return made;
  }

  /**
   * Gets and renews the signed certificate for this address for as long as the signal allows, each new one handed to
   * `use`. Nobody approving is no error: it goes on waiting, and files a new request each day.
   */
  async keepSigned(
    client: ApiClient,
    address: string,
    use: (pair: KeyedCertificate) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { log } = this.#options;
    const backoff = new Backoff(5_000, 600_000);
    for (;;) {
      const have = await this.#load('kubelet-serving', address);
      if (have !== undefined) await sleepUntil(renewalTime(inspect(have)), signal);
      try {
        const request = (await this.#pending(address)) ?? (await this.#request(client, address, signal));
        log.info(
          { command: `kubectl certificate approve ${request.name}` },
          'kubectl logs needs somebody to approve this node',
        );
        // A request that nobody approves is removed by the cluster after a day.
        const certificate = await awaitCertificate(client, request.name, 86_400_000, signal);
        const pair = { certificate, key: request.key };
        await this.#save('kubelet-serving', pair);
        await this.#save('kubelet-pending', undefined);
        use(pair);
        backoff.reset();
        log.info({ expires: inspect(pair).notAfter }, 'serving certificate approved');
        // One that ends at once would be requested without end.
        await sleep(1_000, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (hasCode(error, 'CertificateDenied', 'CertificatePending', 'ApiNotFound'))
          await this.#save('kubelet-pending', undefined);
        log.warn({ error: errorLine(error) }, 'no serving certificate yet');
        await backoff.wait(signal);
      }
    }
  }

  async #request(client: ApiClient, address: string, signal: AbortSignal): Promise<PendingRequest> {
    const { nodeName } = this.#options;
    const { pem, key } = await certificateRequest(nodeName, { dnsNames: [nodeName], ipAddresses: [address] });
    const name = await fileRequest(client, 'kubernetes.io/kubelet-serving', pem, signal);
    const request = { name, key, address };
    await this.#save('kubelet-pending', request);
    return request;
  }

  async #pending(address: string): Promise<PendingRequest | undefined> {
    const request = await this.#read<PendingRequest>('kubelet-pending');
    return request?.address === address && typeof request.name === 'string' && typeof request.key === 'string'
      ? request
      : undefined;
  }

  /** A stored certificate, if it still is good for this name and address. */
  async #load(file: string, address: string | undefined): Promise<KeyedCertificate | undefined> {
    const pair = await this.#read<KeyedCertificate>(file);
    if (pair === undefined) return undefined;
    try {
      const facts = inspect(pair);
      const covers =
        facts.coversHost(this.#options.nodeName) && (address === undefined || facts.coversAddress(address));
      return covers && facts.notAfter.getTime() > Date.now() ? pair : undefined;
    } catch {
      return undefined;
    }
  }

  async #read<T>(file: string): Promise<T | undefined> {
    try {
      const text = await readIfThere(this.#path(file));
      return text === undefined ? undefined : ((JSON.parse(text) ?? undefined) as T | undefined);
    } catch {
      // A damaged file is as good as none.
      return undefined;
    }
  }

  async #save(file: string, value: object | undefined): Promise<void> {
    await writePrivateFile(this.#path(file), `${JSON.stringify(value ?? null)}\n`);
  }

  #path(file: string): string {
    return join(this.#options.stateDirectory, 'pki', `${file}.json`);
  }
}
