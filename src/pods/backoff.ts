/** As a kubelet: 10 s, doubling to 5 minutes; a container that ran for 10 minutes starts anew. */
export const crashBackoff = { firstMs: 10_000, maxMs: 300_000, resetAfterMs: 600_000 } as const;

/** What is rechecked while a container waits (pull, grant, configuration): 10 s, doubling to 5 minutes. */
export const recheckBackoff = { firstMs: 10_000, maxMs: 300_000 } as const;

/** The delay before try number `attempt` (1 is the first repeat), in milliseconds. */
export function backoffMs(attempt: number, policy: { readonly firstMs: number; readonly maxMs: number }): number {
  return attempt <= 0 ? 0 : Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(attempt - 1, 30));
}
