/**
 * Owns the shapes of one bootstrap config's machine: its phases, what is observed and happens, and the work that they want.
 * Does not own what follows from what (Bootstrap.ts).
 */
import * as Data from "effect/Data"
import type { RetryClass } from "./Notice.ts"

/** What a config waits for before anything can be rendered; each is the reason of a condition, never a failure. */
export type Waiting =
  | { readonly on: "OwnerMachine" }
  | { readonly on: "Cluster" }
  | { readonly on: "ControlPlaneEndpoint" }
  | { readonly on: "ControlPlaneInitialized" }
  /** Of a controller that joins: the one that starts the cluster does not run yet. */
  | { readonly on: "FirstController"; readonly machine: string }
  /** The config asks for what can't be done; it waits until the config is changed. */
  | { readonly on: "Refused"; readonly reason: string; readonly message: string }

/** A failed activity, as conditions and decisions need it. Holds no secret. */
export interface Failure {
  /** Reason of the condition and of the Event. */
  readonly reason: string
  readonly message: string
  readonly retry: RetryClass
  /** What to watch for, in the config's namespace; absent: only time or the config itself can help. */
  readonly awaited?: Awaited
}
export interface Awaited {
  readonly kind: "Secret" | "ConfigMap"
  readonly name: string
}

export interface Trying {
  /** Failures in a row. */
  readonly failures: number
  /** What `failures` was when this attempt began: how long it waits first. */
  readonly wait: number
  readonly failure: Failure | undefined
}

export type Phase = Data.TaggedEnum<{
  /** No owner, Cluster or control plane yet. `minted`: a token may exist from before. */
  Pending: { readonly waiting: ReadonlyArray<Waiting>; readonly minted: boolean }
  /** The owner is known and the inputs are read and checked; nothing was written yet. */
  Claimed: Trying
  /** The finalizer is durable: mint the token, render, write the Secret. */
  Provisioning: Trying
  /** The Secret is there. `kept`: the token is renewed until the Machine has joined; then revoked; then `gone`. */
  Ready: Trying & { readonly token: "kept" | "revoking" | "gone" }
  /** Deletion was asked for and a token may exist. */
  Cleaning: Trying
  /** Our finalizer is gone. */
  Deleted: {}
}>
export const Phase = Data.taggedEnum<Phase>()

export interface State {
  readonly phase: Phase
  /** Of the activity; grows with each, whatever the phase: makes late results harmless. */
  readonly attempt: number
  /** `paused`: object or Cluster; `moving`: annotated delete-for-move, gone for us; `gone`: not to be seen any more. */
  readonly halted: "paused" | "moving" | "gone" | undefined
  /** Fingerprint of everything a person can change to help. */
  readonly inputs: string
  /** A controller's machine is up: its cluster may know it any moment now. */
  readonly provisioned: boolean
}

/** What the caches and objects say, assembled afresh each time. */
export interface Observed {
  readonly exists: boolean
  readonly deleting: boolean
  readonly finalizer: boolean
  readonly halted: State["halted"]
  /** In the order in which people should look. */
  readonly waiting: ReadonlyArray<Waiting>
  /** The Machine has its Node, or was seen among the cluster's controllers: nobody needs the token any more. */
  readonly joined: boolean
  readonly inputs: string
  readonly provisioned: boolean
}

export type Event = Data.TaggedEnum<{
  Observed: { readonly observed: Observed }
  /** All inputs are there and make sense. */
  Inspected: { readonly attempt: number }
  /** The Secret is there; `adopted`: it was before. */
  Provided: { readonly attempt: number; readonly adopted: boolean }
  /** The token lives, and long enough. */
  Kept: { readonly attempt: number }
  /** Someone deleted the Secret. */
  DataLost: { readonly attempt: number }
  /** The workload cluster itself shows the machine: of a controller there may never be a Node. */
  Joined: { readonly attempt: number }
  /** `leftBehind`: why a token could not be looked for; it expires by itself. */
  Revoked: { readonly attempt: number; readonly leftBehind?: string }
  Failed: { readonly attempt: number; readonly failure: Failure }
  /** What was waited for changed, or it is time to look again. */
  InputsChanged: {}
}>
export const Event = Data.taggedEnum<Event>()

export type Activity = Data.TaggedEnum<{
  Inspect: { readonly attempt: number; readonly wait: number }
  Provision: { readonly attempt: number; readonly wait: number }
  /** `provisioned` becoming true is a reason to look again at once. */
  Keep: { readonly attempt: number; readonly wait: number; readonly provisioned: boolean }
  /** `andData`: the config is deleted, and its Secret must not greet a config of the same name. */
  Revoke: { readonly attempt: number; readonly wait: number; readonly andData: boolean }
  AwaitChange: { readonly attempt: number; readonly awaited: Awaited | undefined }
}>
export const Activity = Data.taggedEnum<Activity>()
