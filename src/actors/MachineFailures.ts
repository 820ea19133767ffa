/**
 * Owns how errors of the ports become failures that people read: one condition reason and one Event each, naming the
 * object, the cause and the remedy (DESIGN, "Typed errors"). Pure.
 */
import type { Failure } from "../domain/Machine.ts"
import type { HostError } from "../hosts/HostError.ts"
import type { KubeError } from "../kube/KubeError.ts"

export const inputFailure = (reason: string, message: string): Failure => ({
  reason,
  message,
  retry: "waitForChange"
})

/** A read of something the machine needs: missing is waited for, the rest is the API server's trouble. */
export const readFailure = (what: string, error: KubeError): Failure =>
  error.reason === "NotFound"
    ? inputFailure(`${what.replaceAll(" ", "")}NotFound`, `${error.message}. Create it, or correct the reference.`)
    : { reason: "APIServerUnavailable", message: error.message, retry: "backoff" }

/** `redact` takes every secret out that the caller knows of: stderr is the host's own text. */
export const hostFailure = (error: HostError, redact: (text: string) => string): Failure => ({
  reason: error.reason,
  message: redact(
    error.stderr === undefined || error.stderr.trim() === ""
      ? error.message
      : `${error.message} Its last output: ${error.stderr.trim()}`
  ),
  retry: error.retry
})
