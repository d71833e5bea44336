import { LoamletError } from '../base/errors.ts';

/** GrantDenied: the node has no such device, it is held, or its policy does not give it to this pod. */
export class AdmissionError extends LoamletError<'GrantDenied'> {
  constructor(message: string, remedy?: string) {
    super('GrantDenied', 'operator', message, remedy === undefined ? {} : { remedy });
  }
}
