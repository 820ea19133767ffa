/**
 * Owns what an operator can set for the whole provider; the flags of `machinist controller` are made from it.
 */
import * as Context from "effect/Context"
import { WATCH_FILTER_LABEL } from "../api/Names.ts"
import type { ListOptions } from "../kube/KubeClient.ts"

export interface ProviderOptions {
  /** Absent: all namespaces. */
  readonly namespace: string | undefined
  /** Value of label `cluster.x-k8s.io/watch-filter`; absent: objects with and without it. */
  readonly watchFilter: string | undefined
}

export const ProviderOptions = Context.Reference<ProviderOptions>("machinist/provider/ProviderOptions", {
  defaultValue: () => ({ namespace: undefined, watchFilter: undefined })
})

/** What the watches of our own kinds are narrowed to. */
export const listOptions = (options: ProviderOptions): ListOptions => ({
  ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  ...(options.watchFilter === undefined ? {} : { labelSelector: `${WATCH_FILTER_LABEL}=${options.watchFilter}` })
})
