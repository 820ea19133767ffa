/**
 * Owns the language between the controller and a host: the request that is piped into one `exec`, and the event lines
 * that come back. Pure: types and codecs. The shell driver (driver/) and simulation/SimulatedHost speak it; neither
 * the meaning of a machine's state nor SSH is known here.
 *
 * A request is bytes: blobs, then header lines, with the steps, that point into them by offset and length. An event is one line `machinist <tag> <fields…>`; other lines are noise (banners) and skipped.
 */

/** Root-only, survives reboots (DESIGN, "On the host"). */
export const STATE_DIR = "/var/lib/machinist"
export const TENANCY_FILE = `${STATE_DIR}/tenancy`
/** What CAPI's contract makes every bootstrap end with; /run is emptied by a reboot. */
export const SENTINEL = "/run/cluster-api/bootstrap-success.complete"

/** Who asks. Every request carries it; older fences and foreign claims are refused. */
export interface Tenant {
  /** The claim's id: `[0-9a-z-]{1,64}`. */
  readonly claim: string
  /** `namespace/name` of the RemoteMachine. */
  readonly machine: string
  /** uid of the RemoteMachine's Cluster object, or of the kube-system namespace: tells management clusters apart. */
  readonly cluster: string
  /** Grows with each claim attempt and each takeover by a new leader. */
  readonly fence: number
}

export interface RunFile {
  /** Absolute. */
  readonly path: string
  readonly content: Uint8Array
  /** Octal, e.g. `0644`. */
  readonly mode: string
  /** `user:group`, `user` or absent: root:root. */
  readonly owner?: string
  readonly append?: boolean
}

export interface RunStep {
  /** One line, shown to people and so never taken from a command's text. */
  readonly name: string
  /** Contents of a file that is run as `sh FILE`. */
  readonly script: string
}

export type Request =
  /** Reads; changes nothing on the host. */
  | { readonly verb: "inspect"; readonly tenant: Tenant }
  /** Starts the run, or re-attaches to it, and follows it to its end. */
  | {
      readonly verb: "run"
      readonly tenant: Tenant
      /** sha256 hex of the bootstrap data: a journal of other data is never continued. */
      readonly dataHash: string
      /** A failed step is tried again only by an attempt that is greater than the one that failed; from 1. */
      readonly attempt: number
      /** Directory the steps run in; made if absent. Absent: `/`. */
      readonly workingDir?: string
      readonly files: ReadonlyArray<RunFile>
      readonly steps: ReadonlyArray<RunStep>
      /** Success needs SENTINEL. */
      readonly sentinel: boolean
      /** All steps as one script (`commandsAsScript`): one step on the host. */
      readonly stepTimeoutSeconds: number
    }
  /** Kills a run in flight, runs every step (failures are recorded, all run), removes, verifies, leaves a tombstone. */
  | {
      readonly verb: "clean"
      readonly tenant: Tenant
      readonly attempt: number
      readonly workingDir?: string
      readonly steps: ReadonlyArray<RunStep>
      /** Absolute paths to remove (files we wrote, token, sentinel); recursive. */
      readonly remove: ReadonlyArray<string>
      /** Verification: no process or service of k0s, and none of these paths. */
      readonly verify: { readonly k0s: boolean; readonly paths: ReadonlyArray<string> }
      readonly stepTimeoutSeconds: number
      /** Takes the host over from a foreign or quarantined record first: a person asked for it. Absent: refused. */
      readonly adopt?: boolean
    }
  /** Marks the host as given up on: cleaning failed for good. Answers with the Tenancy it left. */
  | { readonly verb: "quarantine"; readonly tenant: Tenant }

/** `free` is the tombstone of a cleaned claim. */
export type TenancyState = "running" | "failed" | "ready" | "cleaning" | "quarantined" | "free"

export interface TenancyRecord extends Tenant {
  readonly bootId: string
  readonly state: TenancyState
}

export type ServiceManager = "systemd" | "openrc" | "sysv" | "none"

export type Refusal =
  /** The host carries another claim that was not cleaned. */
  | { readonly why: "foreign"; readonly record: TenancyRecord }
  /** The host has seen a newer fence of this claim, or the tombstone of another one has this fence or a newer one. */
  | { readonly why: "fence"; readonly fence: number }
  /**
   * This claim was cleaned here already (state `free`, fence not older than the request's). A request of ANY claim
   * with a fence greater than the tombstone's may start; `clean` for the tombstone's own claim answers Cleaned at once.
   */
  | { readonly why: "released" }
  /** A journal for other bootstrap data under the same claim. */
  | { readonly why: "data" }
  /** The tenancy record says a run began, and its journal is gone. */
  | { readonly why: "journal-lost" }
  /** Verification failed after an earlier cleaning; the host waits for a person. */
  | { readonly why: "quarantined"; readonly record: TenancyRecord }
  /** Not root, no setsid nor systemd-run, no POSIX tools: `detail` says which. */
  | { readonly why: "unsupported"; readonly detail: string }

/** What bootstrap data may ask about the operating system; absent: the host does not say. */
export interface SystemFacts {
  readonly kernelRelease?: string
  /** As `uname -m` says it. */
  readonly machine?: string
  /** `ID`, `VERSION_ID` and `VERSION_CODENAME` of /etc/os-release. */
  readonly distro?: string
  readonly distroVersion?: string
  readonly distroRelease?: string
}

export type HostEvent =
  | {
      readonly _tag: "Facts"
      readonly bootId: string
      readonly serviceManager: ServiceManager
      readonly hostname: string
      readonly uid: number
    }
  | ({ readonly _tag: "System" } & SystemFacts)
  /** The shell that looked takes the next request on its stdin now. */
  | { readonly _tag: "Accepted" }
  | { readonly _tag: "Tenancy"; readonly record: TenancyRecord | undefined }
  | { readonly _tag: "Refused"; readonly refusal: Refusal }
  /** `fresh`: the first time; `attached`: it was running; `resumed`: it had died and goes on; `ended`: it was over. */
  | { readonly _tag: "Attached"; readonly how: "fresh" | "attached" | "resumed" | "ended" }
  /** Steps count from 0. Recorded steps are told again on re-attach, in order. */
  | { readonly _tag: "StepStarted"; readonly step: number }
  | { readonly _tag: "StepEnded"; readonly step: number; readonly code: number }
  /** Started earlier, no exit code, proven dead: it will run once more. */
  | { readonly _tag: "StepInterrupted"; readonly step: number }
  /** One line of the tail of the failed step's stderr, printable; comes before RunFailed. */
  | { readonly _tag: "Stderr"; readonly text: string }
  | { readonly _tag: "RunSucceeded" }
  | { readonly _tag: "RunFailed"; readonly step: number; readonly code: number }
  /** Every step succeeded and SENTINEL is not there. */
  | { readonly _tag: "NoSentinel" }
  /** Verification found this; comes before Dirty. */
  | { readonly _tag: "Leftover"; readonly what: string }
  | { readonly _tag: "Cleaned" }
  | { readonly _tag: "Dirty" }
  /** The driver itself could not go on (disk full, read-only root): `detail` is one line. */
  | { readonly _tag: "DriverError"; readonly detail: string }
