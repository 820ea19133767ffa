/**
 * Holds, with the real command line, a real API server and real sshd hosts: a machine whose step hangs can be deleted
 * and holds nobody up; a host that is rebooted in the middle of a step, under a real systemd, is provisioned all the
 * same; and what a quiet run costs in writes, connections and execs is DESIGN's budget;
 * and two controllers at once, or two management clusters, on one host, do each step once and wait for each other.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { claimOf } from "../../src/actors/Objects.ts"
import { RETRY_ANNOTATION } from "../../src/api/Names.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import { available } from "./apiserver/ApiServer.ts"
import { deleteMachine } from "./e2e/Capi.ts"
import * as Controller from "./e2e/Controller.ts"
import {
  addHost,
  addMachine,
  bootstrapData,
  disksOf,
  isReady,
  Live,
  makeNamespace,
  readyCondition,
  summary,
  until,
  untilReady,
  type View
} from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const told = (host: TestHosts.TestHost, what: string): number =>
  Effect.runSync(TestHosts.witness(host)).filter((line) => line.what === what).length

const startController = Effect.fnUntraced(function* (view: View) {
  const { server } = yield* Live
  return yield* Controller.begin(server.kubeconfigPath, view.namespace)
})

const isFree = (view: View, host: string): boolean => {
  const found = view.hosts.get(host)
  return found !== undefined && claimOf(found) === undefined && found.status?.phase === "Free"
}

/** API requests that change something, by kind, as the controller counts them; Events are apart. */
const changes = (metrics: string): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const line of metrics.split("\n")) {
    const [, labels = "", value = "0"] = /^machinist_kube_requests_total\{(.*)\} (\S+)$/.exec(line) ?? []
    const label = (name: string) => new RegExp(`${name}="([^"]*)"`).exec(labels)?.[1] ?? ""
    if (!["create", "patch", "update", "delete"].includes(label("verb"))) continue
    counts.set(label("kind"), (counts.get(label("kind")) ?? 0) + Number(value))
  }
  return counts
}

/** What sshd starts for every exec of root: it tells the witness from which port the connection came. */
const countExecs = (host: TestHosts.TestHost) =>
  Effect.andThen(
    TestHosts.writeFile(
      host,
      "/usr/local/bin/counting-shell",
      '#!/bin/sh\nwitness exec "$(echo "$SSH_CONNECTION" | cut -d " " -f 2)"\nexec /bin/sh "$@"\n',
      "0755"
    ),
    TestHosts.execOk(
      host,
      "sed -i '1,/^root:/s|^\\(root:.*\\):/bin/sh$|\\1:/usr/local/bin/counting-shell|' /etc/passwd"
    )
  )

describe.skipIf(!available || TestHosts.unavailable !== undefined)("machinist controller, when hosts misbehave", () => {
  it.layer(Live.layer, { timeout: "15 minutes", excludeTestServices: true })((it) => {
    it.effect("a machine whose step hangs is deleted, daemon and all, and nobody waits for it", () =>
      Effect.gen(function* () {
        const { kube } = yield* Live
        const hosts = yield* TestHosts.light(6)
        const [hung] = hosts
        if (hung === undefined) return yield* Effect.die("no host")
        const disks = disksOf([hung])
        const view = yield* makeNamespace(hung.privateKey)
        yield* Effect.forEach(hosts.slice(0, 5), (host, index) =>
          addHost(view, `h${index}`, host, `pool-${Math.min(index, 1)}`)
        )
        yield* startController(view)
        // A shell that neither its parent nor its session lead to, deaf to TERM.
        const daemon =
          "(trap '' TERM HUP; setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' daemonized &) </dev/null"
        yield* addMachine(
          view,
          "hangs",
          { pool: "pool-0" },
          bootstrapData("hangs", { pre: [daemon, "witness hung; sleep 100000"] })
        )
        yield* until("its step hangs", () => told(hung, "hung") === 1)
        assert.include((yield* TestHosts.exec(hung, "cat /proc/[0-9]*/cmdline")).stdout, "daemonized")

        const names = ["a", "b", "c", "d"]
        yield* Effect.forEach(names, (name) => addMachine(view, name, { pool: "pool-1" }))
        yield* untilReady(view, names)
        assert.isFalse(isReady(view.machines.get("hangs")))
        const message = view.machines.get("hangs")?.status?.conditions?.find((one) => one.type === "Ready")?.message
        assert.match(message ?? "", /^Step 3 of \d+ runs: pre-start 3/)

        yield* deleteMachine(kube, view.namespace, "hangs")
        assert.isTrue(
          isFree(view, "h0") ||
            (yield* Effect.as(
              until("its host is free", () => isFree(view, "h0")),
              true
            ))
        )
        assert.notInclude((yield* TestHosts.exec(hung, "cat /proc/[0-9]*/cmdline")).stdout, "daemonized")
        assert.deepStrictEqual(yield* disks.residue, [])
        assert.strictEqual(told(hung, "hung"), 1)
        // The next tenant finds a host like any other.
        yield* addMachine(view, "next", { pool: "pool-0" })
        yield* untilReady(view, ["next"])
      }).pipe(Effect.scoped)
    )

    it.effect(
      "two controllers at once, neither of which knows of the other: each step once, each host one tenant",
      () =>
        Effect.gen(function* () {
          const { kube } = yield* Live
          const hosts = yield* TestHosts.light(4)
          const disks = disksOf(hosts)
          const view = yield* makeNamespace(hosts[0]?.privateKey ?? "")
          yield* Effect.forEach(hosts, (host, index) => addHost(view, `h${index}`, host))
          const names = ["a", "b", "c"]
          yield* Effect.forEach(names, (name) => addMachine(view, name))
          const both = yield* Effect.all([startController(view), startController(view)], { concurrency: 2 })
          yield* untilReady(view, names)
          const sum = (what: string) => hosts.reduce((count, host) => count + told(host, what), 0)
          for (const what of ["pre", "get-k0s", "k0s-install-worker", "k0s-worker", "post"])
            assert.strictEqual(sum(what), names.length, what)
          for (const host of hosts) assert.isAtMost(told(host, "pre"), 1, host.name)
          assert.strictEqual(new Set(names.map((name) => view.machines.get(name)?.spec.address)).size, names.length)
          yield* Effect.forEach(names, (name) => deleteMachine(kube, view.namespace, name), {
            concurrency: "unbounded"
          })
          yield* until("all hosts are free", () => hosts.every((_, index) => isFree(view, `h${index}`)))
          assert.deepStrictEqual(yield* disks.residue, [])
          assert.isTrue(both.every(({ isRunning }) => isRunning()))
        }).pipe(Effect.scoped)
    )

    it.effect(
      "two management clusters on one host: the second is told whose it is, and has it once that one has left",
      () =>
        Effect.gen(function* () {
          const { kube } = yield* Live
          const [host] = yield* TestHosts.light(1)
          if (host === undefined) return yield* Effect.die("no host")
          // Each controller sees its own namespace only, and knows of the other as little as of another API server.
          const theirs = yield* makeNamespace(host.privateKey)
          const ours = yield* makeNamespace(host.privateKey)
          for (const [view, name] of [
            [theirs, "first"],
            [ours, "second"]
          ] as const) {
            yield* addHost(view, "h", host)
            yield* startController(view)
            yield* addMachine(view, name)
            if (view === theirs) yield* untilReady(view, [name])
          }
          const ready = () => readyCondition(ours, "second")
          yield* until(
            "the second is told",
            () => ready()?.reason === "ForeignTenant",
            () => summary(ours)
          )
          assert.include(ready()?.message ?? "", `${theirs.namespace}/first`)
          assert.strictEqual(told(host, "pre"), 1)
          assert.isTrue(isReady(theirs.machines.get("first")))
          yield* deleteMachine(kube, theirs.namespace, "first")
          // A host is looked at again every minute; a person need not wait for that.
          const retry = { metadata: { annotations: { [RETRY_ANNOTATION]: "1" } } }
          yield* kube.patch(RemoteMachines, { namespace: ours.namespace, name: "second" }, retry)
          yield* untilReady(ours, ["second"])
          const machines = Effect.runSync(TestHosts.witness(host)).filter(({ what }) => what === "pre")
          assert.deepStrictEqual(
            machines.map(({ args }) => args),
            ["first", "second"]
          )
        }).pipe(Effect.scoped)
    )

    it.effect("a quiet run of five machines costs what DESIGN says", () =>
      Effect.gen(function* () {
        const hosts = yield* TestHosts.light(5)
        const view = yield* makeNamespace(hosts[0]?.privateKey ?? "")
        yield* Effect.forEach(hosts, countExecs)
        const names = hosts.map((_, index) => `m${index}`)
        yield* Effect.forEach(hosts, (host, index) => addHost(view, `h${index}`, host))
        const controller = yield* startController(view)
        yield* until("the hosts' own status is written", () => names.every((_, index) => isFree(view, `h${index}`)))
        const before = changes(yield* controller.metrics)
        const written = () => names.map((_, index) => view.writes(view.hosts.get(`h${index}`)))
        const hostsBefore = written()
        yield* Effect.forEach(names, (name) => addMachine(view, name), { concurrency: "unbounded" })
        yield* untilReady(view, names)
        const after = changes(yield* controller.metrics)
        const spent = (kind: string) => (after.get(kind) ?? 0) - (before.get(kind) ?? 0)
        const kinds = [...after.keys()].filter((kind) => spent(kind) > 0).sort()
        assert.deepStrictEqual(kinds, ["Event", "PooledRemoteMachine", "RemoteMachine", "Secret"])
        // The key that they share is held: one write, whatever their number.
        assert.strictEqual(spent("Secret"), 1)
        // On the host's side: the claim, and its status.
        assert.strictEqual(spent("PooledRemoteMachine"), 2 * names.length)
        assert.deepStrictEqual(
          written().map(({ durable, status }, index) => [
            durable - (hostsBefore[index]?.durable ?? 0),
            status - (hostsBefore[index]?.status ?? 0)
          ]),
          names.map(() => [1, 1])
        )
        // On its own: intent, population, run record, providerID; and status: Ready, and at most one a second before it.
        let machineWrites = 0
        for (const name of names) {
          const machine = view.machines.get(name)
          const { durable, status } = view.writes(machine)
          const since = Date.parse(machine?.metadata.creationTimestamp ?? "")
          const ready = machine?.status?.conditions?.find((one) => one.type === "Ready")
          const seconds = (Date.parse(ready?.lastTransitionTime ?? "") - since) / 1000
          assert.strictEqual(durable, 4, name)
          // Timestamps of whole seconds; the first of each second's progress, and two that are told at once.
          assert.isAtMost(status, Math.ceil(seconds) + 1 + 2, `${name} in ${seconds} s`)
          machineWrites += durable + status
        }
        // Nothing was written in vain: each request that the controller made is a change that was seen.
        assert.strictEqual(spent("RemoteMachine"), machineWrites)
        for (const host of hosts) {
          const execs = Effect.runSync(TestHosts.witness(host)).filter((line) => line.what === "exec")
          assert.strictEqual(execs.length, 1, "the shell that looked goes on with the run")
        }
      }).pipe(Effect.scoped)
    )
  })
})

describe.skipIf(!available || TestHosts.systemdUnavailable !== undefined)("machinist controller, under systemd", () => {
  it.layer(Live.layer, { timeout: "15 minutes", excludeTestServices: true })((it) => {
    it.effect("a host rebooted in the middle of a step is provisioned all the same", () =>
      Effect.gen(function* () {
        const { kube } = yield* Live
        const [host] = yield* TestHosts.systemd(1)
        if (host === undefined) return yield* Effect.die("no host")
        const disks = disksOf([host])
        const view = yield* makeNamespace(host.privateKey)
        yield* addHost(view, "h0", host, "default", { user: "machinist", useSudo: true })
        yield* startController(view)
        const wait = "witness waits; until [ -e /srv/go ]; do sleep 0.1; done"
        yield* addMachine(view, "m", { pool: "default" }, bootstrapData("m", { pre: [wait] }))
        yield* until("the step runs", () => told(host, "waits") === 1)
        yield* TestHosts.reboot(host)
        yield* until("the step runs once more", () => told(host, "waits") === 2)
        yield* TestHosts.writeFile(host, "/srv/go", "")
        yield* untilReady(view, ["m"])
        for (const once of ["pre", "k0s-install-worker", "k0s-worker", "post"])
          assert.strictEqual(told(host, once), 1, once)
        const unit = (yield* TestHosts.execOk(
          host,
          "systemctl is-active k0sworker; systemctl is-enabled k0sworker"
        )).split("\n")
        assert.deepStrictEqual(unit.slice(0, 2), ["active", "enabled"])

        yield* deleteMachine(kube, view.namespace, "m")
        yield* until("its host is free", () => isFree(view, "h0"))
        yield* TestHosts.execOk(host, "rm /srv/go")
        assert.deepStrictEqual(yield* disks.residue, [])
        assert.strictEqual((yield* TestHosts.exec(host, "systemctl cat k0sworker")).code, 1)
      }).pipe(Effect.scoped)
    )
  })
})
