/**
 * Owns how long a retry waits: a pure function of the attempt and of a random number the caller draws. How often is
 * retried (the budgets) is decided in Machine.ts and Bootstrap.ts; waiting itself is the actors'.
 */

export interface BackoffPolicy {
  /** Milliseconds before the second try. */
  readonly baseMillis: number
  readonly factor: number
  /** No wait is longer. */
  readonly capMillis: number
  /** 0.5: the wait is drawn from [half of it, all of it], so that machines that failed together don't return together. */
  readonly jitter: number
}

/** A host that refuses, times out, or drops the connection: it may be rebooting, so soon at first. */
export const CONNECT_BACKOFF: BackoffPolicy = { baseMillis: 1_000, factor: 2, capMillis: 60_000, jitter: 0.5 }
/** A bootstrap step that failed: usually a package mirror or the network; hammering doesn't help. */
export const STEP_BACKOFF: BackoffPolicy = { baseMillis: 10_000, factor: 2, capMillis: 300_000, jitter: 0.5 }
/** Cleaning that failed or found leftovers: a container may need time to die. */
export const CLEAN_BACKOFF: BackoffPolicy = { baseMillis: 5_000, factor: 2, capMillis: 60_000, jitter: 0.5 }
/** A quarantined host, cleaned once more in the background: something of its own may have ended meanwhile. */
export const QUARANTINE_BACKOFF: BackoffPolicy = {
  baseMillis: 600_000,
  factor: 2,
  capMillis: 3_600_000,
  jitter: 0.5
}
/** API server: conflicts, 429 and 5xx. */
export const API_BACKOFF: BackoffPolicy = { baseMillis: 200, factor: 2, capMillis: 30_000, jitter: 0.5 }
/** A workload cluster that does not answer yet: its control plane may still be starting. */
export const WORKLOAD_BACKOFF: BackoffPolicy = { baseMillis: 2_000, factor: 2, capMillis: 60_000, jitter: 0.5 }

/**
 * Milliseconds to wait after the `attempt`th failure (from 1). `random` in [0, 1) comes from effect's Random; with one
 * `random`, waits never shrink as attempts grow, and never pass the cap.
 */
export const backoffMillis = (policy: BackoffPolicy, attempt: number, random: number): number => {
  const failures = Math.max(1, Math.floor(attempt))
  // Past about a thousand doublings the power is Infinity, which the cap turns into the cap.
  const full = Math.min(policy.capMillis, policy.baseMillis * policy.factor ** (failures - 1))
  const drawn = Math.min(Math.max(random, 0), 1)
  return Math.round(full * (1 - policy.jitter * (1 - drawn)))
}
