/**
 * Holds, with the real command line, a real API server and real sshd hosts: two generations of 23 machines come and go
 * on the same hosts while the controller is killed twenty times; every step runs once, no host ever has two tenants,
 * and what is left on each is nothing but the tombstone.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { claimOf, runOf } from "../../src/actors/Objects.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import { available } from "./apiserver/ApiServer.ts"
import { deleteMachine } from "./e2e/Capi.ts"
import * as Controller from "./e2e/Controller.ts"
import {
  addHost,
  addMachine,
  disksOf,
  KEY,
  Live,
  makeNamespace,
  summary,
  until,
  untilReady,
  type View
} from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const POOLED = 20
const FIXED = 3
const KILLS = 20

type Hosts = ReadonlyArray<TestHosts.TestHost>
const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((all, one) => all + one, 0)

/** What happened on a host, as words: the stand-ins' and the bootstrap data's own lines. */
const told = (host: TestHosts.TestHost) => Effect.runSync(TestHosts.witness(host))
const count = (hosts: Hosts, what: string): number =>
  sum(hosts.map((host) => told(host).filter((line) => line.what === what).length))

/** Numbers that only grow while a generation is provisioned, or deleted: what the moments of crashes are told by. */
const measures = (view: View, hosts: Hosts) => {
  const machines = () => [...view.machines.values()]
  return {
    intents: () => machines().filter((one) => claimOf(one) !== undefined).length,
    held: () => [...view.hosts.values()].filter((one) => claimOf(one) !== undefined).length,
    populated: () => machines().filter((one) => one.spec.address !== undefined).length,
    touched: () => machines().filter((one) => runOf(one) !== undefined).length,
    ready: () => machines().filter((one) => one.status?.ready === true).length,
    begun: () => count(hosts, "pre"),
    downloaded: () => count(hosts, "curl"),
    installed: () => count(hosts, "k0s-install-worker"),
    joined: () => count(hosts, "k0s-registered"),
    ended: () => count(hosts, "post"),
    stopped: () => count(hosts, "k0s-worker-end"),
    reset: () => count(hosts, "k0s-reset"),
    freed: () => [...view.hosts.values()].filter((one) => claimOf(one) === undefined).length,
    gone: () => POOLED + FIXED - machines().length
  }
}
type Measure = keyof ReturnType<typeof measures>
type Crash = readonly [at: Measure, least: number]

const PROVISIONING: ReadonlyArray<Crash> = [
  ["intents", 2],
  ["held", 8],
  ["populated", 14],
  ["touched", 5],
  ["begun", 6],
  ["downloaded", 12],
  ["joined", 10],
  ["ready", 4],
  ["ready", 22]
]
const DELETING: ReadonlyArray<Crash> = [
  ["stopped", 1],
  ["reset", 8],
  ["freed", 3],
  ["gone", 12]
]
const AGAIN: ReadonlyArray<Crash> = [
  ["touched", 1],
  ["touched", 16],
  ["installed", POOLED + FIXED + 9],
  ["ended", POOLED + FIXED + 4]
]
const LEAVING: ReadonlyArray<Crash> = [
  ["stopped", POOLED + FIXED + 3],
  ["reset", 2 * (POOLED + FIXED) - 3],
  ["gone", 6]
]

/** The controller, in one life after the other. */
const makeLives = Effect.fnUntraced(function* (view: View, hosts: Hosts) {
  const { server } = yield* Live
  const outer = yield* Effect.scope
  const world = measures(view, hosts)
  const killed: Array<string> = []
  const begin = Effect.gen(function* () {
    const scope = yield* Scope.fork(outer, "sequential")
    const controller = yield* Scope.provide(Controller.begin(server.kubeconfigPath, view.namespace), scope)
    return { controller, end: Scope.close(scope, Exit.void) }
  })
  let life = yield* begin
  /** Kills it at each of these moments and starts it again at once. */
  const crashAt = (crashes: ReadonlyArray<Crash>) =>
    Effect.forEach(
      crashes,
      Effect.fnUntraced(function* ([at, least]) {
        yield* until(
          `${at} >= ${least}`,
          () => world[at]() >= least,
          () => `${world[at]()}\n${summary(view)}`
        )
        assert.isTrue(life.controller.isRunning(), "it ended by itself")
        yield* life.controller.kill
        killed.push(`${at} ${world[at]()}`)
        yield* life.end
        life = yield* begin
      }),
      { discard: true }
    )
  return { crashAt, killed, stop: Effect.suspend(() => life.controller.stop) }
})

/** Steps of one machine's bootstrap that are witnessed, in their order. */
const STEPS = ["pre", "curl", "get-k0s", "k0s-install-worker", "k0s-worker", "k0s-registered", "post"]

/** Every tenant of a host, in order, with what it did there. */
const tenancies = (host: TestHosts.TestHost) => {
  const all: Array<{ readonly machine: string; readonly did: Array<string> }> = []
  for (const line of told(host)) {
    if (line.what === "pre" && all.at(-1)?.machine !== line.args) all.push({ machine: line.args, did: [] })
    all.at(-1)?.did.push(line.what)
  }
  return all
}

const assertCleanTenancies = (host: TestHosts.TestHost, generations: number) => {
  const found = tenancies(host)
  assert.strictEqual(found.length, generations, `${host.name}: ${JSON.stringify(found)}`)
  assert.strictEqual(new Set(found.map(({ machine }) => machine)).size, generations, "a machine came back")
  for (const { did, machine } of found) {
    const story = `${host.name} ${machine}: ${did.join(" ")}`
    for (const step of STEPS) assert.strictEqual(did.filter((one) => one === step).length, 1, `${step} of ${story}`)
    // What ends a tenancy comes after all of it, and before the next tenant's first step.
    assert.deepStrictEqual(did.slice(0, STEPS.length).sort(), [...STEPS].sort(), story)
    assert.include(did.slice(STEPS.length), "k0s-reset", story)
  }
}

describe.skipIf(!available || TestHosts.unavailable !== undefined)("machinist controller, end to end", () => {
  it.layer(Live.layer, { timeout: "15 minutes", excludeTestServices: true })((it) => {
    it.effect("two generations on 23 hosts, through twenty crashes", () =>
      Effect.gen(function* () {
        const { kube } = yield* Live
        const hosts = yield* TestHosts.light(POOLED + FIXED)
        const view = yield* makeNamespace(hosts[0]?.privateKey ?? "")
        const disks = disksOf(hosts)
        const pooled = hosts.slice(0, POOLED)
        yield* Effect.forEach(pooled, (host, index) => addHost(view, `h${index}`, host), { concurrency: 8 })
        /** One of them by sudo, one all in one script. */
        const fixed = (index: number) => ({
          address: hosts[POOLED + index]?.address ?? "",
          sshKeyRef: { name: KEY },
          ...(index === 1 ? { user: "machinist", useSudo: true } : {}),
          ...(index === 2 ? { commandsAsScript: true } : {})
        })
        const generation = (number: number) =>
          Array.from({ length: POOLED + FIXED }, (_, index) => ({
            name: `g${number}-${index < POOLED ? "pooled" : "fixed"}-${index}`,
            spec: index < POOLED ? { pool: "default" } : fixed(index - POOLED)
          }))
        const create = (machines: ReturnType<typeof generation>) =>
          Effect.forEach(machines, ({ name, spec }) => addMachine(view, name, spec), { concurrency: 4, discard: true })
        const remove = (machines: ReturnType<typeof generation>) =>
          Effect.forEach(machines, ({ name }) => deleteMachine(kube, view.namespace, name), {
            concurrency: "unbounded",
            discard: true
          })
        const lives = yield* makeLives(view, hosts)

        for (const [number, coming, going] of [
          [1, PROVISIONING, DELETING],
          [2, AGAIN, LEAVING]
        ] as const) {
          const machines = generation(number)
          const names = machines.map(({ name }) => name)
          yield* Effect.all([create(machines), lives.crashAt(coming)], { concurrency: "unbounded" })
          yield* untilReady(view, names)
          const addresses = names.map((name) => view.machines.get(name)?.spec.address)
          assert.strictEqual(new Set(addresses).size, POOLED + FIXED, "two machines have one address")
          for (const name of names) {
            const machine = view.machines.get(name)
            assert.strictEqual(machine?.spec.providerID, `remote-machine://${machine?.spec.address}:22`)
            assert.strictEqual(machine?.metadata.annotations?.["clusterctl.cluster.x-k8s.io/block-move"], undefined)
          }
          yield* Effect.all([remove(machines), lives.crashAt(going)], { concurrency: "unbounded" })
          yield* until("every host is free", () =>
            [...view.hosts.values()].every((host) => claimOf(host) === undefined && host.status?.reserved !== true)
          )
          assert.deepStrictEqual((yield* kube.list(RemoteMachines, { namespace: view.namespace })).items, [])
        }

        assert.strictEqual(lives.killed.length, KILLS, lives.killed.join(", "))
        for (const host of hosts) assertCleanTenancies(host, 2)
        assert.deepStrictEqual(yield* disks.residue, [])
        assert.strictEqual(yield* lives.stop, 0)
      }).pipe(Effect.scoped)
    )
  })
})
