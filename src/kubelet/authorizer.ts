/** Who calls, as the client certificate says: CN, and every O. */
export interface Caller {
  readonly user: string;
  readonly groups: readonly string[];
}

/** May the caller do this to `nodes/<subresource>` of our node? */
export type ReviewAccess = (caller: Caller, verb: string, subresource: string, signal: AbortSignal) => Promise<boolean>;

const allowMs = 300_000;
const denyMs = 30_000;
const maxAnswers = 1000;

/**
 * Asks the cluster whether a caller may, and remembers the answer: 5 minutes a yes, 30 s a no, 1,000 answers.
 * An error is not remembered and is no yes.
 */
export class Authorizer {
  readonly #review: ReviewAccess;
  readonly #now: () => number;
  readonly #answers = new Map<string, { readonly allowed: boolean; readonly untilMs: number }>();

  /** @param now milliseconds of a clock that never jumps @default performance.now */
  constructor(review: ReviewAccess, now: () => number = () => performance.now()) {
    this.#review = review;
    this.#now = now;
  }

  /** Whether one of the subresources, tried in this order, allows it. @throws what the review throws */
  async allows(caller: Caller, verb: string, subresources: readonly string[], signal: AbortSignal): Promise<boolean> {
    for (const subresource of subresources) if (await this.#ask(caller, verb, subresource, signal)) return true;
    return false;
  }

  async #ask(caller: Caller, verb: string, subresource: string, signal: AbortSignal): Promise<boolean> {
    const key = JSON.stringify([caller.user, caller.groups, verb, subresource]);
    const known = this.#answers.get(key);
    if (known !== undefined && known.untilMs > this.#now()) return known.allowed;
    const allowed = await this.#review(caller, verb, subresource, signal);
    this.#answers.delete(key);
    this.#answers.set(key, { allowed, untilMs: this.#now() + (allowed ? allowMs : denyMs) });
    if (this.#answers.size > maxAnswers) this.#answers.delete(this.#answers.keys().next().value ?? key);
    return allowed;
  }
}

/** The subresources of our Node that stand for a path, the finer one first; as a kubelet maps them. */
export function subresourcesOf(path: string): readonly string[] {
  const first = path.split('/', 2)[1] ?? '';
  switch (first) {
    case 'pods':
    case 'runningpods':
      return ['pods', 'proxy'];
    case 'healthz':
      return ['healthz', 'proxy'];
    case 'configz':
      return ['configz', 'proxy'];
    case 'stats':
      return ['stats'];
    case 'metrics':
      return ['metrics'];
    case 'logs':
      return ['log'];
    case 'checkpoint':
      return ['checkpoint'];
    default:
      return ['proxy'];
  }
}

/**
 * As a kubelet maps methods, but for what runs or reaches into a container: its WebSocket form is a GET, and `get` on
 * nodes/proxy is what monitoring often has.
 */
export function verbOf(method: string, path: string): string {
  if (/^\/(exec|attach|portForward|run)(\/|$)/.test(path)) return 'create';
  const verbs: Record<string, string> = {
    GET: 'get',
    HEAD: 'get',
    POST: 'create',
    PUT: 'update',
    PATCH: 'patch',
    DELETE: 'delete',
  };
  return verbs[method] ?? 'proxy';
}
