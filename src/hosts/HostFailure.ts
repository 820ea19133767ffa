/**
 * Owns turning what an exec came to (an SSH error, a refusal, an end without a result) into a HostError whose message
 * says who, where, and what would change it. Pure. No secret can get in here: steps' stderr is only in `stderr`.
 */
import type { SshError } from "../ssh/SshError.ts"
import { HostError, type HostErrorReason } from "./HostError.ts"
import type { Instead } from "./LoginShell.ts"
import { type Refusal, STATE_DIR, type TenancyRecord } from "./Protocol.ts"

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what must go
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g

/** What a host says goes to terminals and YAML: no escape sequences, one line, bounded. */
export const scrub = (text: string, limit = 400): string => {
  const clean = text.replace(CONTROL, " ").replace(/ {2,}/g, " ").trim()
  return clean.length > limit ? `…${clean.slice(-limit)}` : clean
}

const sshReason = (error: SshError): HostErrorReason => {
  switch (error.phase) {
    case "connect":
    case "timeout":
    case "channel":
    case "closed":
      return "ConnectFailed"
    case "limit":
      return "SessionLimit"
    case "authentication":
      return "AuthenticationFailed"
    case "key":
      return "InvalidKey"
    case "passphrase":
      return "InvalidPassphrase"
    case "hostKeyChanged":
      return "HostKeyChanged"
    case "hostKey":
      return "HostKeyRejected"
    case "handshake":
      return "NoCommonAlgorithm"
    case "forwarding":
      return "JumpHostRefused"
  }
}

/** The port's messages name target, cause and remedy already. */
export const fromSsh = (host: string, error: SshError): HostError =>
  new HostError({
    reason: sshReason(error),
    host,
    message: error.message,
    ...(error.jumpHost === undefined ? {} : { jumpHost: error.jumpHost })
  })

const tenantText = (record: TenancyRecord): string =>
  `RemoteMachine ${record.machine} of cluster ${record.cluster} (claim ${record.claim}, state ${record.state})`

const unsupportedText = (host: string, detail: string, useSudo: boolean): string => {
  if (!detail.startsWith("not root")) return `${host} can't be used: ${scrub(detail)}.`
  return useSudo
    ? `${host}: sudo did not make us root (${scrub(detail)}); let its sudoers rule allow running as root.`
    : `${host}: the SSH user is ${scrub(detail)}; connect as root, or set useSudo: true and allow the user passwordless sudo.`
}

export const fromRefusal = (host: string, refusal: Refusal, useSudo: boolean): HostError => {
  const refused = (reason: HostErrorReason, message: string) => new HostError({ reason, host, message })
  switch (refusal.why) {
    case "foreign":
      return refused(
        "ForeignTenant",
        `${host} belongs to ${tenantText(refusal.record)}. Delete that RemoteMachine so that the host is cleaned, or annotate this one with machinist.dev/adopt-foreign.`
      )
    case "quarantined":
      return refused(
        "Quarantined",
        `${host} is quarantined: its cleaning after ${tenantText(refusal.record)} failed. Clean it by hand, then remove ${STATE_DIR} on it.`
      )
    case "fence":
      return refused("StaleFence", `A newer controller acts on ${host} (fence ${refusal.fence}); this one stops.`)
    case "released":
      return refused("Released", `This claim was cleaned on ${host} already; it needs a greater fence to begin again.`)
    case "data":
      return refused("DataChanged", `${host} ran other bootstrap data for this claim; it is cleaned before a new run.`)
    case "journal-lost":
      return refused(
        "JournalLost",
        `${host} says that a bootstrap began, but its record or journal below ${STATE_DIR} is gone; it is cleaned before a new run.`
      )
    case "unsupported":
      return refused("Unsupported", unsupportedText(host, refusal.detail, useSudo))
  }
}

const SUDO_SPOKE = /(^|\n)\s*(sudo:|.*sudo: .*(not found|No such file))/
const DISK = /no space left|disk quota|read-only file system/i

const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`)

/** The user is in, and what runs there is not what was asked for. */
export const fromOtherShell = (host: string, { exit, said }: Instead): HostError => {
  const words = scrub(said)
  return new HostError({
    reason: "ShellRefused",
    host,
    message: `${host} let the user in, and ran no command: its login shell, or a ForceCommand of sshd, ended with ${exit} and ${
      words === "" ? "said nothing." : `said: ${sentence(words)}`
    } Give the user a real shell (usermod -s /bin/sh), or take the ForceCommand away.`
  })
}

/** The exec is over and no line of it was a result. */
export const fromSilence = (host: string, useSudo: boolean, exit: string, stderr: string): HostError => {
  const said = scrub(stderr)
  if (useSudo && SUDO_SPOKE.test(stderr))
    return new HostError({
      reason: "SudoRefused",
      host,
      message: `${host}: sudo refused: ${said} Allow the user passwordless sudo without a tty (NOPASSWD in sudoers), and see that sudo is installed.`
    })
  // OpenSSH's session.c: PAM opened no session for a user who is logged in, or /etc/nologin says why nobody gets one.
  if (exit === "exit 254")
    return new HostError({
      reason: "SessionRefused",
      host,
      message:
        said === ""
          ? `${host} let the user in, and opened no session: PAM refused it (sshd's log on the host says why); see limits.conf (maxlogins), pam_nologin and pam_access there.`
          : `${host} let the user in, and opened no session, saying: ${sentence(said)} See /etc/nologin there.`
    })
  if (/^exit 12[67]/.test(exit))
    return new HostError({
      reason: "Unsupported",
      host,
      message: `${host} could not start a POSIX shell (${exit}): ${said} Install /bin/sh, and let the user log in with a real shell.`
    })
  return new HostError({
    reason: "DriverFailed",
    host,
    message: `${host}: the driver ended without a result (${exit})${said === "" ? "" : `: ${said}`}${
      DISK.test(stderr) ? " Free space on the host." : ""
    }`
  })
}
