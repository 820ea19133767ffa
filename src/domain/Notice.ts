/**
 * Owns what is told to people and may be lost: one Kubernetes Event, one log line, one metric. Whatever must not be
 * lost is an activity instead (DESIGN, "One machine, one loop"). Pure.
 */

/** See KubeError. Repeated here because the domain knows no port. */
export type RetryClass = "backoff" | "waitForChange" | "budget"

export interface Notice {
  readonly type: "Normal" | "Warning"
  /** CamelCase, machine-readable, stable. */
  readonly reason: string
  /** Names the object, the cause and the remedy; no secrets. */
  readonly message: string
}
