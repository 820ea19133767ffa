/**
 * Owns what an operator can set for the whole provider; the flags of `machinist controller` are made from it.
 */
import * as Context from "effect/Context"
import { WATCH_FILTER_LABEL } from "../api/Names.ts"
import { TOKEN_TTL_SECONDS } from "../domain/JoinToken.ts"
import type { ListOptions } from "../kube/KubeClient.ts"

/** `clusterctl` installs the two apart, each in a process of its own. */
export type Half = "infrastructure" | "bootstrap"
export const HALVES: ReadonlyArray<Half> = ["infrastructure", "bootstrap"]

export interface ProviderOptions {
  /** Absent: all namespaces. */
  readonly namespace: string | undefined
  /** Value of label `cluster.x-k8s.io/watch-filter`; absent: objects with and without it. */
  readonly watchFilter: string | undefined
  /** How long a join token lives unless it is renewed, seconds; a config's annotation counts more. */
  readonly tokenTtlSeconds: number
  /** Which kinds have actors in this process. Absent: all of them. */
  readonly halves?: ReadonlyArray<Half>
  /** How often a pool host that nobody uses is probed, seconds; absent: never. */
  readonly poolProbeSeconds?: number | undefined
}

export const ProviderOptions = Context.Reference<ProviderOptions>("machinist/provider/ProviderOptions", {
  defaultValue: () => ({ namespace: undefined, watchFilter: undefined, tokenTtlSeconds: TOKEN_TTL_SECONDS })
})

/** What the watches of our own kinds are narrowed to. */
export const listOptions = (options: ProviderOptions): ListOptions => ({
  ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  ...(options.watchFilter === undefined ? {} : { labelSelector: `${WATCH_FILTER_LABEL}=${options.watchFilter}` })
})
