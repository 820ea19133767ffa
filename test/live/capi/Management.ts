/**
 * Owns a whole management cluster as its users have it: a real API server, CAPI's core and our provider as `clusterctl init`
 * installs them, core's manager at work; stand-ins only for kinds that others own; and `machinist controller`, each half a
 * process of its own with the rights of its ServiceAccount, killed and started again. Does not own workload clusters nor hosts.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { KubeClientShape } from "../../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../../src/kube/LiveKubeClient.ts"
import { HALVES, type Half } from "../../../src/provider/Options.ts"
import { objectAt } from "../../../src/simulation/apiserver/Json.ts"
import { standInCrds } from "../../../src/simulation/core/standins/crds.ts"
import * as StandIns from "../../../src/simulation/core/standins/StandIns.ts"
import { type ApiServer, installCrd, serviceAccount, startWith } from "../apiserver/ApiServer.ts"
import * as Controller from "../e2e/Controller.ts"
import * as Clusterctl from "./Clusterctl.ts"
import * as Manager from "./Manager.ts"
import * as Workloads from "./Workloads.ts"

export const account = (half: Half) => serviceAccount(`machinist-${half}-system`, `machinist-${half}-manager`)

export interface Management {
  readonly server: ApiServer
  /** The administrator's. */
  readonly kube: KubeClientShape
  readonly clusterctl: Clusterctl.Clusterctl
  readonly manager: Manager.Manager
}

/** Other providers' definitions come by clusterctl too, which is what makes it take their objects along. */
const otherProvidersCrds = standInCrds.map((crd) => ({
  ...crd,
  metadata: {
    ...objectAt(crd, "metadata"),
    labels: { ...objectAt(crd, "metadata", "labels"), "clusterctl.cluster.x-k8s.io": "" }
  }
}))

/** Core and our CRDs, no process of ours yet. */
export const start = Effect.gen(function* () {
  const server = yield* startWith({ users: HALVES.map(account) })
  const kube = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
  const prepared = yield* Manager.prepare
  const clusterctl = yield* Clusterctl.make(prepared)
  yield* Clusterctl.init(clusterctl, server, kube)
  yield* Effect.forEach(otherProvidersCrds, (crd) => installCrd(kube, crd), { discard: true })
  const manager = yield* Manager.run(server, prepared)
  return { server, kube, clusterctl, manager } satisfies Management
})

/** A control plane that a kubeconfig Secret leads to is only vouched for; others get a real API server. */
export const startStandIns = (kube: KubeClientShape) =>
  Effect.gen(function* () {
    const workloads = yield* Workloads.make
    const { hosts } = yield* StandIns.make({ kube, workloads })
    return { workloads, awsHosts: hosts }
  }).pipe(Effect.provide(SecureRandom.layerWebCrypto))

export interface Lives {
  /** Ends when it does. */
  readonly running: (half: Half) => Effect.Effect<void>
  /** SIGKILL, and another one at once, which has yet to begin when this ends. */
  readonly kill: (half: Half) => Effect.Effect<void>
  readonly killed: () => number
  /** Log lines of refusals by RBAC, of all lives: there must be none. */
  readonly refusals: () => ReadonlyArray<string>
  /** Those that ended by themselves, which they must never do, with their last words. */
  readonly died: () => ReadonlyArray<string>
}

const REFUSAL = /is forbidden|"Forbidden"|cannot (?:get|list|watch|create|update|patch|delete) resource/

/** Both halves of the provider for one namespace, until the scope closes. */
export const startProvider = Effect.fnUntraced(function* ({ server }: Management, namespace: string) {
  const outer = yield* Effect.scope
  const compiled = yield* Controller.compiled
  const refusals: Array<string> = []
  const died: Array<string> = []
  let killed = 0
  const begin = Effect.fnUntraced(function* (half: Half) {
    const scope = yield* Scope.fork(outer)
    const kubeconfig = server.userKubeconfigs.get(account(half).name) ?? ""
    const flags = [`--providers=${half}`]
    const options = { flags, environment: { NODE_COMPILE_CACHE: compiled } }
    const controller = yield* Scope.provide(Controller.start(kubeconfig, namespace, options), scope)
    return { controller, end: Scope.close(scope, Exit.void) }
  })
  const lives = new Map<Half, Effect.Success<ReturnType<typeof begin>>>()
  for (const half of HALVES) lives.set(half, yield* begin(half))
  const lastWords = (half: Half, { controller }: { readonly controller: Controller.Controller }) =>
    controller.hasEnded() ? [`${half}: ${controller.log().slice(-3).join("\n")}`] : []
  const refusedIn = (controller: Controller.Controller) => controller.log().filter((line) => REFUSAL.test(line))
  // With the scope they end because we end them.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const { controller } of lives.values()) refusals.push(...refusedIn(controller))
      lives.clear()
    })
  )
  const running = (half: Half) => Effect.suspend(() => Effect.orDie(lives.get(half)?.controller.running ?? Effect.void))
  const made: Lives = {
    running,
    kill: Effect.fnUntraced(function* (half) {
      const life = lives.get(half)
      if (life === undefined) return
      lives.delete(half)
      died.push(...lastWords(half, life))
      yield* life.controller.kill
      refusals.push(...refusedIn(life.controller))
      yield* life.end
      lives.set(half, yield* begin(half))
      killed++
    }),
    killed: () => killed,
    refusals: () => [...refusals, ...[...lives.values()].flatMap(({ controller }) => refusedIn(controller))],
    died: () => [...died, ...[...lives].flatMap(([half, life]) => lastWords(half, life))]
  }
  yield* Effect.forEach(HALVES, running, { discard: true })
  return made
})
