import { LoamletError, type Blame, type ErrorDetails } from '../base/errors.ts';

/**
 * BadUrl: the broker's URL is not one we can dial.
 * BadCredentials: a file with user, password, key or certificate can't be read.
 * Refused: the broker answered and does not let us in.
 * VersionRefused: the broker does not speak this version of MQTT.
 * Unreachable: no answer, no route, no trust in its certificate, or it is too busy.
 * TakenOver: somebody else logged in under our client id.
 * MessageRefused: the broker took the connection, but not this message.
 * Full: more unsent messages than the bound.
 * Closed: the link is closed.
 * PortTaken: the embedded broker can't listen.
 */
export type MqttErrorCode =
  | 'BadUrl'
  | 'BadCredentials'
  | 'Refused'
  | 'VersionRefused'
  | 'Unreachable'
  | 'TakenOver'
  | 'MessageRefused'
  | 'Full'
  | 'Closed'
  | 'PortTaken';

const blame: Record<MqttErrorCode, Blame> = {
  BadUrl: 'operator',
  BadCredentials: 'operator',
  Refused: 'operator',
  VersionRefused: 'world',
  Unreachable: 'world',
  TakenOver: 'operator',
  MessageRefused: 'operator',
  Full: 'world',
  Closed: 'us',
  PortTaken: 'operator',
};

export class MqttError extends LoamletError<MqttErrorCode> {
  constructor(code: MqttErrorCode, message: string, details?: ErrorDetails) {
    super(code, blame[code], message, details);
  }
}
