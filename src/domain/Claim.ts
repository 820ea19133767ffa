/**
 * Owns what ties a machine to a host, as it is written on both objects (DESIGN, "Claims"), and the run record that is
 * written before the first exec that changes a host. Pure codecs; who writes them when is Pool's and Machine's.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { HostFacts } from "./bootstrap/HostFacts.ts"

/** `worker` unless the bootstrap config is a controller's: decides what cleaning has to undo. */
export const Role = Schema.Literals(["worker", "controller"])
export type Role = typeof Role.Type

/** Value of annotation `machinist.dev/run`, JSON: everything that cleaning needs when all other objects are gone. */
export const RunRecord = Schema.Struct({
  /** Grows with each claim of the host and each takeover by a new leader; the host refuses older ones. */
  fence: Schema.Int,
  /** A host may have been changed from here on. */
  touched: Schema.Boolean,
  /** Kind of the owner Machine's bootstrap config, e.g. `K0sWorkerConfig`. */
  bootstrapKind: Schema.String,
  /** sha256 hex of the bootstrap data that runs. */
  dataHash: Schema.String,
  k0sInstallDir: Schema.String,
  /** Absent: the kubelet's default, /var/lib/kubelet under k0s' own management. */
  kubeletRootDir: Schema.optionalKey(Schema.String),
  /** Absent: k0s' default, /var/lib/k0s. */
  dataDir: Schema.optionalKey(Schema.String),
  role: Role,
  /** Which try of a failing step this is; absent: the first. The host runs a failed step again only for a greater one. */
  stepAttempt: Schema.optionalKey(Schema.Int),
  /** How often the host was cleaned and the bootstrap begun anew, its journal being of no use; absent: never. */
  begunAnew: Schema.optionalKey(Schema.Int),
  /** The bootstrap fetched the k0s binary, so cleaning takes it away. */
  downloadedK0s: Schema.optionalKey(Schema.Boolean),
  /** RFC 3339; when the host was first taken for this bootstrap: its whole time counts from here. */
  startedAt: Schema.optionalKey(Schema.String),
  /** What templates of the bootstrap data were told of the host; absent: they ask nothing. */
  facts: Schema.optionalKey(HostFacts),
  /** Where the join token file was put, so that cleaning can see that it is gone. */
  workingDir: Schema.optionalKey(Schema.String)
})
export type RunRecord = typeof RunRecord.Type

/** Value of annotation `machinist.dev/claim`, JSON, on the RemoteMachine and on its PooledRemoteMachine. */
export const Claim = Schema.Struct({
  /** Unique for ever; also names the claim on the host. */
  id: Schema.String,
  /** Name of the PooledRemoteMachine (same namespace); empty for a machine with an address of its own. */
  host: Schema.String,
  /** `namespace/name` of the RemoteMachine. */
  machine: Schema.String,
  /** uid of the RemoteMachine when it was claimed; a moved object gets a new one. */
  uid: Schema.String,
  /** On the host's side only: why it was given up on, and waits for a person. */
  quarantined: Schema.optionalKey(Schema.String),
  /** Beside it: what cleaning needs to try again; the machine, and its own record, are gone by then. */
  run: Schema.optionalKey(RunRecord)
})
export type Claim = typeof Claim.Type

const ClaimText = Schema.fromJsonString(Claim)
const RunText = Schema.fromJsonString(RunRecord)
// Made once: every look at a pool decodes the claim of each of its hosts.
const claimFrom = Schema.decodeUnknownOption(ClaimText)
const runFrom = Schema.decodeUnknownOption(RunText)
const claimTo = Schema.encodeSync(ClaimText)
const runTo = Schema.encodeSync(RunText)

/** A text that is not ours to understand reads as `undefined`; callers treat it as held, never as free. */
export const decodeClaim = (text: string): Claim | undefined => Option.getOrUndefined(claimFrom(text))
export const encodeClaim = (claim: Claim): string => claimTo(claim)
export const decodeRun = (text: string): RunRecord | undefined => Option.getOrUndefined(runFrom(text))
export const encodeRun = (run: RunRecord): string => runTo(run)
