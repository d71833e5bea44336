import { LoamletError, type Blame, type ErrorDetails } from '../base/errors.ts';

export type ClusterErrorCode =
  /** A kubeconfig can't be read or names no server. */
  | 'KubeconfigInvalid'
  /** The API server does not answer: network, name, port, TLS. */
  | 'ApiUnreachable'
  /** 401: the token or certificate is wrong or has expired. */
  | 'ApiUnauthorized'
  /** 403: known, but not allowed. */
  | 'ApiForbidden'
  /** 404. */
  | 'ApiNotFound'
  /** 409: exists already, or a precondition does not hold. */
  | 'ApiConflict'
  /** 410, and 504 `Too large resource version`: the version to watch from is not in this server's history. */
  | 'ApiExpired'
  /** 422: the object is not valid, or names another uid. */
  | 'ApiInvalid'
  /** 429 and 5xx: try again later. */
  | 'ApiBusy'
  /** Any other answer. */
  | 'ApiFailed'
  /** A certificate request was denied or failed to be signed. */
  | 'CertificateDenied'
  /** Nobody approved a certificate request in time. */
  | 'CertificatePending'
  /** The node's name is in use by another machine. */
  | 'NodeNameTaken'
  /** The configuration asks for something a Node can't be: a label, resource or address. */
  | 'NodeInvalid';

const blames: Partial<Record<ClusterErrorCode, Blame>> = {
  ApiUnreachable: 'world',
  ApiBusy: 'world',
  ApiExpired: 'world',
};

/** What goes wrong between this node and its cluster. */
export class ClusterError extends LoamletError<ClusterErrorCode> {
  /** The API server's status code, where it gave one. */
  readonly status: number | undefined;
  constructor(code: ClusterErrorCode, message: string, details: ErrorDetails & { status?: number } = {}) {
    super(code, blames[code] ?? 'operator', message, details);
    this.status = details.status;
  }
}

export function hasCode(error: unknown, ...codes: ClusterErrorCode[]): error is ClusterError {
  return error instanceof ClusterError && codes.includes(error.code);
}

/** The same request may well succeed later without anybody doing anything. */
export function isTransient(error: unknown): boolean {
  return !(error instanceof ClusterError) || hasCode(error, 'ApiUnreachable', 'ApiBusy');
}
