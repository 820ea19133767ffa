/**
 * Owns the host layer's service: inspect a host, run or re-attach to a bootstrap, clean. One SSH connection a host
 * (kept a few seconds between two uses), one exec a call. Speaks Protocol over the SshClient port; knows no
 * Kubernetes and decides nothing: it returns facts and typed errors.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { HostKeyPin } from "../ssh/HostKeys.ts"
import type { SshTarget } from "../ssh/SshClient.ts"
import type { HostError } from "./HostError.ts"
import type { HostEvent, Request, ServiceManager, SystemFacts, TenancyRecord, Tenant } from "./Protocol.ts"

export interface HostAccess {
  readonly target: SshTarget
  readonly useSudo: boolean
}

export interface HostReport {
  readonly bootId: string
  readonly hostname: string
  readonly serviceManager: ServiceManager
  readonly system: SystemFacts
  /** What the host showed, and its jump hosts in their order. */
  readonly hostKey: HostKeyPin
  readonly jumpHostKeys?: ReadonlyArray<HostKeyPin>
  readonly tenancy: TenancyRecord | undefined
}

export type RunRequest = Extract<Request, { readonly verb: "run" }>
export type CleanRequest = Extract<Request, { readonly verb: "clean" }>

/** What a caller may want to show: started, ended, interrupted steps. Terminal events end the stream or fail it. */
export type RunProgress = Extract<
  HostEvent,
  { readonly _tag: "Attached" | "StepStarted" | "StepEnded" | "StepInterrupted" }
>

export interface HostRunsShape {
  /** Connects, reads facts and tenancy; touches nothing. A host that another claim holds is in the report, no error. */
  readonly inspect: (access: HostAccess, tenant: Tenant) => Effect.Effect<HostReport, HostError>
  /** Ends when the run succeeded; fails with StepFailed, NoSentinel, a refusal, or the connection's error. */
  readonly run: (access: HostAccess, request: RunRequest) => Stream.Stream<RunProgress, HostError>
  /** Ends when the host is verified clean and carries the tombstone; fails with NotClean otherwise. */
  readonly clean: (access: HostAccess, request: CleanRequest) => Stream.Stream<RunProgress, HostError>
  /** Writes into the tenancy record that cleaning was given up on: the next tenant is refused, or cleans first. */
  readonly quarantine: (access: HostAccess, tenant: Tenant) => Effect.Effect<void, HostError>
}

export class HostRuns extends Context.Service<HostRuns, HostRunsShape>()("machinist/hosts/HostRuns") {}
