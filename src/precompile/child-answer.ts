import { parseDescription, type ModuleDescription } from './description.ts';
import { precompileErrorCodes, type PrecompileErrorCode } from './errors.ts';
import { printable } from '../base/printable.ts';

/** What the child says on file descriptor 3, as JSON. */
export type ChildAnswer =
  | { readonly ok: true; readonly size: number; readonly description: ModuleDescription }
  | {
      readonly ok: false;
      readonly code: PrecompileErrorCode;
      readonly message: string;
      readonly remedy: string | null;
    };

/** Bytes; 10,000 imports with long names fit. */
export const maxAnswerBytes = 24 << 20;

/** Checks what came from the child, which parsed untrusted bytes. Undefined for anything but an answer. */
export function parseAnswer(text: string): ChildAnswer | undefined {
  let value: Record<string, unknown>;
  try {
    value = Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (value['ok'] === true) {
    const description = parseDescription(value['description']);
    const size = value['size'];
    return description && Number.isSafeInteger(size) ? { ok: true, size: size as number, description } : undefined;
  }
  const code = precompileErrorCodes.find((known) => known === value['code']);
  const { message, remedy } = value;
  if (!code || typeof message !== 'string' || (remedy !== null && typeof remedy !== 'string')) return undefined;
  return { ok: false, code, message: printable(message, 500), remedy: remedy === null ? null : printable(remedy) };
}
