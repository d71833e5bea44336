import { errorLine, systemCode } from '../base/errors.ts';
import type { BrokerAddress } from './broker-address.ts';
import { MqttError } from './errors.ts';

/** What we know of the attempt, for a line that a person can act on. */
export interface Attempt {
  readonly address: BrokerAddress;
  readonly username: string | undefined;
  readonly clientId: string;
}

/** CONNACK reason codes of MQTT 5, and return codes of 3.1.1 below 16. */
const loginCodes = new Set([4, 5, 0x86, 0x87, 0x8c]);
const versionCodes = new Set([1, 0x84]);
const clientIdCodes = new Set([2, 0x85]);
const banned = 0x8a;

/** Why CONNACK said no. @param code its reason code. */
export function connackError(code: number, reason: string, attempt: Attempt): MqttError {
  const { address, username, clientId } = attempt;
  const who = username === undefined ? 'without a user name' : `as user ${JSON.stringify(username)}`;
  if (loginCodes.has(code)) {
    return new MqttError('Refused', `the broker ${address.shown} refused the login ${who} (${reason})`, {
      remedy:
        username === undefined
          ? 'set mqtt.username and mqtt.passwordFile'
          : 'check mqtt.username and mqtt.passwordFile against the users of the broker',
    });
  }
  if (versionCodes.has(code))
    return new MqttError('VersionRefused', `the broker ${address.shown} does not speak this version of MQTT`);
  if (clientIdCodes.has(code) || code === banned) {
    return new MqttError('Refused', `the broker ${address.shown} refused the client id ${clientId} (${reason})`, {
      remedy: "allow it in the broker's configuration, or give the node another name",
    });
  }
  return new MqttError('Unreachable', `the broker ${address.shown} takes no connection now (${reason})`, {
    remedy: "look into the broker's log; trying again",
  });
}

/** Codes by which TLS says that it does not trust the other side, in Node's and OpenSSL's words. */
const certificateCode = /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/;

/** Why there is no connection, when the broker did not say. */
export function networkError(error: unknown, { address }: Attempt): MqttError {
  const cause = error instanceof AggregateError ? error.errors[0] : error;
  const code = systemCode(cause) ?? '';
  if (certificateCode.test(code)) {
    return new MqttError('Unreachable', `the certificate of the broker ${address.shown} is not trusted (${code})`, {
      remedy: 'set mqtt.caFile to the CA that signed it, and use the host name that is in it',
      cause: error,
    });
  }
  const remedy =
    code === 'ENOTFOUND' || code === 'EAI_AGAIN'
      ? 'check the host name and the DNS'
      : 'is it running, and is the port open?';
  return new MqttError('Unreachable', `the broker ${address.shown} cannot be reached (${code || errorLine(cause)})`, {
    remedy,
    cause: error,
  });
}

/** PUBACK codes that are about the message and will be the same next time: not authorised, bad topic, too large, bad payload. */
const aboutTheMessage = new Set([0x87, 0x90, 0x95, 0x99, 0x9a, 0x9b]);

export function isAboutTheMessage(code: number): boolean {
  return aboutTheMessage.has(code);
}
