import { readFile } from 'node:fs/promises';
import { systemCode } from '../base/errors.ts';
import { MqttError } from './errors.ts';

/** How to reach and enter a broker, as the config says it. Files are read again at each attempt to connect. */
export interface BrokerOptions {
  /** `mqtt://host[:1883]` or `mqtts://host[:8883]`; user and password may stand in it. */
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
  readonly usernameFile?: string;
  readonly passwordFile?: string;
  /** PEM: who may sign the broker's certificate. @default the system's list */
  readonly caFile?: string;
  /** PEM: our own certificate and key, for brokers that ask for one. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** The URL without user and password: what logs and status show. */
  readonly shown: string;
  readonly urlUser: string | undefined;
  readonly urlPassword: string | undefined;
}

export interface Credentials {
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** @throws MqttError `BadUrl` */
export function parseBrokerUrl(url: string): BrokerAddress {
  const remedy = 'write it as mqtt://host:1883 or mqtts://host:8883';
  let parsed: URL;
  let urlUser: string;
  let urlPassword: string;
  try {
    parsed = new URL(url);
    urlUser = decodeURIComponent(parsed.username);
    urlPassword = decodeURIComponent(parsed.password);
  } catch {
    // The URL itself may hold a password, so it is not repeated.
    throw new MqttError('BadUrl', 'the broker URL cannot be read', { remedy });
  }
  const tls = parsed.protocol === 'mqtts:';
  if (!tls && parsed.protocol !== 'mqtt:')
    throw new MqttError('BadUrl', `brokers are not reached by ${parsed.protocol}//`, { remedy });
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1');
  if (host === '') throw new MqttError('BadUrl', 'the broker URL names no host', { remedy });
  const port = parsed.port === '' ? (tls ? 8883 : 1883) : Number(parsed.port);
  const shown = `${parsed.protocol}//${parsed.hostname}:${port}`;
  return { host, port, tls, shown, urlUser: urlUser || undefined, urlPassword: urlPassword || undefined };
}

/** @throws MqttError `BadCredentials` naming the file. */
export async function readCredentials(options: BrokerOptions, address: BrokerAddress): Promise<Credentials> {
  const [username, password, ca, cert, key] = await Promise.all([
    options.usernameFile === undefined
      ? (options.username ?? address.urlUser)
      : read(options.usernameFile, 'user name').then(oneLine),
    options.passwordFile === undefined
      ? (options.password ?? address.urlPassword)
      : read(options.passwordFile, 'password').then(oneLine),
    options.caFile === undefined ? undefined : read(options.caFile, 'CA certificate'),
    options.certFile === undefined ? undefined : read(options.certFile, 'client certificate'),
    options.keyFile === undefined ? undefined : read(options.keyFile, 'client key'),
  ]);
  if (password !== undefined && username === undefined) {
    throw new MqttError('BadCredentials', 'the broker has a password and no user name', {
      remedy: 'set mqtt.username',
    });
  }
  return { username, password, ca, cert, key };
}

function oneLine(text: string): string {
  return text.replace(/\r?\n$/, '');
}

async function read(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new MqttError(
      'BadCredentials',
      `cannot read the broker's ${what} from ${path} (${systemCode(error) ?? String(error)})`,
      {
        remedy: 'make the file exist and readable for the user that runs loamlet',
        cause: error,
      },
    );
  }
}
