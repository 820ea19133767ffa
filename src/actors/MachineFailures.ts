/**
 * Owns how errors of the ports become failures that people read: one condition reason and one Event each, naming the
 * object, the cause and the remedy (DESIGN, "Typed errors"). Pure.
 */
import type { RemoteMachine } from "../api/RemoteMachine.ts"
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

/** The key was refused, or is none: which Secret it is from, the host layer can't know. */
const aboutKey = (error: HostError, machine: RemoteMachine): string =>
  error.reason === "InvalidKey" || error.reason === "AuthenticationFailed"
    ? ` The key is that of Secret ${machine.metadata.namespace ?? ""}/${machine.spec.sshKeyRef?.name ?? ""}.`
    : ""

/** `redact` takes every secret out that the caller knows of: stderr is the host's own text. */
export const hostFailure = (error: HostError, machine: RemoteMachine, redact: (text: string) => string): Failure => ({
  reason: error.reason,
  message: redact(
    error.stderr === undefined || error.stderr.trim() === ""
      ? `${error.message}${aboutKey(error, machine)}`
      : `${error.message} Its last output: ${error.stderr.trim()}`
  ),
  retry: error.retry,
  ofHost: true
})
