/**
 * Owns the conformance suite of the Kubernetes port: the same promises, held by the in-memory API server and by a real
 * kube-apiserver through the live client. Where the two differ, the real one is right. The scenarios are in kube/.
 * `kubeGarbageCollection` needs kube-controller-manager's controllers, and so runs in memory only.
 */
import { describe, it } from "@effect/vitest"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { garbage, namespaces } from "./kube/collection.ts"
import { schemas, subresources, types } from "./kube/custom.ts"
import { creation, deletion, listing, patching, secretsAndMaps } from "./kube/objects.ts"
import { World } from "./kube/World.ts"
import { watches } from "./kube/watching.ts"

export interface ConformanceOptions {
  readonly skip?: boolean
}

/** For the start of the server (a real one may have to be built first). */
const START_TIMEOUT = "15 minutes"

type MakeClient<E> = Effect.Effect<KubeClientShape, E, Scope.Scope>

const suite = <E>(
  name: string,
  makeClient: MakeClient<E>,
  options: ConformanceOptions,
  scenarios: Readonly<Record<string, (it: Parameters<typeof creation>[0]) => void>>
): void => {
  describe.skipIf(options.skip === true)(name, () => {
    // Real services: the live client's sockets know nothing of a test clock.
    it.layer(World.layer(makeClient), { timeout: START_TIMEOUT, excludeTestServices: true })((it) => {
      for (const [title, scenario] of Object.entries(scenarios)) {
        describe(title, () => scenario(it))
      }
    })
  })
}

export const kubeConformance = <E>(name: string, makeClient: MakeClient<E>, options: ConformanceOptions = {}): void =>
  suite(`${name}: Kubernetes port`, makeClient, options, {
    creation,
    "Secrets and ConfigMaps": secretsAndMaps,
    patching,
    deletion,
    listing,
    watches,
    subresources,
    types,
    schemas
  })

export const kubeGarbageCollection = <E>(
  name: string,
  makeClient: MakeClient<E>,
  options: ConformanceOptions = {}
): void => suite(`${name}: what follows a deletion`, makeClient, options, { "garbage collection": garbage, namespaces })
