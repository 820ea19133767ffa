/**
 * Owns how errors of the ports become failures that people read: one condition reason and one Event each, naming the
 * object, the cause and the remedy (DESIGN, "Typed errors"). Pure.
 */
import * as Names from "../api/Names.ts"
import { PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { HOST_DEFAULTS, type RemoteMachine } from "../api/RemoteMachine.ts"
import type { Failure } from "../domain/Machine.ts"
import type { HostError } from "../hosts/HostError.ts"
import type { KubeError } from "../kube/KubeError.ts"
import { targetName } from "../ssh/SshClient.ts"

export const inputFailure = (reason: string, message: string): Failure => ({
  reason,
  message,
  retry: "waitForChange"
})

/** A read of something the machine needs: what is missing, or not allowed, is waited for; the rest is the API server's. */
export const readFailure = (what: string, error: KubeError): Failure => {
  switch (error.reason) {
    case "NotFound":
      return inputFailure(
        `${what.replaceAll(" ", "")}NotFound`,
        `${error.message}. Create it, or correct the reference.`
      )
    case "Forbidden":
      return inputFailure(
        "APIServerForbidden",
        `${error.message}. The provider needs the permission to ${error.verb} ${error.kind}s: give it its ClusterRole.`
      )
    default:
      return { reason: "APIServerUnavailable", message: error.message, retry: "backoff" }
  }
}

/** Which Secret opens the host, or the jump host that it failed at. */
const secretOf = (error: HostError, { metadata, spec }: RemoteMachine): string => {
  const jump = (spec.jumpHosts ?? []).find(
    ({ address, port = HOST_DEFAULTS.port, user = HOST_DEFAULTS.user }) =>
      targetName({ address, port, user }) === error.jumpHost
  )
  const own = jump?.sshKeyRef?.name ?? ""
  return `${metadata.namespace ?? ""}/${own === "" ? (spec.sshKeyRef?.name ?? "") : own}`
}

/** What the layers below can't know: which Secret a key is from, and where a pin is. */
const remedy = (error: HostError, machine: RemoteMachine): string => {
  switch (error.reason) {
    case "InvalidKey":
    case "AuthenticationFailed":
      return ` The key is that of Secret ${secretOf(error, machine)}.`
    case "InvalidPassphrase":
      return ` Key "${Names.SECRET_PASSPHRASE_KEY}" of Secret ${secretOf(error, machine)} is the passphrase.`
    case "HostKeyRejected":
      return ` It is "${Names.SECRET_KNOWN_HOSTS_KEY}" of Secret ${secretOf(error, machine)}.`
    case "HostKeyChanged": {
      const { name, namespace = "" } = machine.metadata
      const pin = error.jumpHost === undefined ? Names.HOST_KEY_ANNOTATION : Names.JUMP_HOST_KEYS_ANNOTATION
      // Pool hosts that nobody uses are looked at in the shape of a machine.
      const kind = machine.kind === PooledRemoteMachines.kind ? "pooledremotemachine" : "remotemachine"
      return ` A pin is forgotten by: kubectl annotate ${kind} ${name} -n ${namespace} ${pin}- (a key that was given stands in "${Names.SECRET_KNOWN_HOSTS_KEY}" of Secret ${secretOf(error, machine)}${error.jumpHost === undefined ? "" : ", or in hostKey of spec.jumpHosts"}).`
    }
    default:
      return ""
  }
}

const withRemedy = (message: string, more: string): string =>
  more === "" ? message : `${message}${/[.!?]$/.test(message) ? "" : "."}${more}`

/** The host was not even asked: it is not to be suspected. */
const isElsewhere = (error: HostError): boolean => error.jumpHost !== undefined || error.reason === "SessionLimit"

/** `redact` takes every secret out that the caller knows of: stderr is the host's own text. */
export const hostFailure = (error: HostError, machine: RemoteMachine, redact: (text: string) => string): Failure => ({
  reason: error.reason,
  message: redact(
    error.stderr === undefined || error.stderr.trim() === ""
      ? withRemedy(error.message, remedy(error, machine))
      : `${error.message} Its last output: ${error.stderr.trim()}`
  ),
  retry: error.retry,
  ...(error.reason === "SessionLimit" ? {} : { ofHost: true as const }),
  ...(isElsewhere(error) ? { elsewhere: true as const } : {})
})
