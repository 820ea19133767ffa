/**
 * Holds, field by field, what the specs of RemoteMachine and PooledRemoteMachine do on a host, and what the status shows;
 * through the whole provider. (`provisionJob`, and what is wrong with a field: badInput.test.ts; what the API server
 * refuses: api/crds.test.ts.)
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { CLAIM_ANNOTATION } from "../src/api/Names.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type { CleanRequest, HostAccess, RunRequest } from "../src/hosts/HostRuns.ts"
import { SENTINEL } from "../src/hosts/Protocol.ts"
import type { JsonObject } from "../src/kube/KubeClient.ts"
import { root, SIMULATED_KEY } from "../src/simulation/hosts/Accounts.ts"
import type { Wrap } from "../src/simulation/Processes.ts"
import { createHost, createKey, createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

interface Asked {
  readonly access: HostAccess
  readonly request: RunRequest | CleanRequest
}

/** A host at port 2222 that lets `ops` in, with sudo. */
const world = Effect.gen(function* () {
  const made = yield* makeWorld
  const host = yield* made.hosts.add({ address: "10.0.0.1", port: 2222, name: "h1" })
  host.accounts.set("ops", { ...root(SIMULATED_KEY), uid: 1001 })
  yield* createKey(made.kube, "ops-key")
  const asked: Array<Asked> = []
  const wrap: Wrap = {
    hosts: (inner) => ({
      ...inner,
      run: (access, request) => {
        asked.push({ access, request })
        return inner.run(access, request)
      },
      clean: (access, request) => {
        asked.push({ access, request })
        return inner.clean(access, request)
      }
    })
  }
  return { ...made, host, asked, start: made.startProvider("provider", wrap) }
})

const fields = {
  address: "10.0.0.1",
  port: 2222,
  user: "ops",
  useSudo: true,
  commandsAsScript: true,
  workingDir: "/srv/bootstrap",
  sshKeyRef: { name: "ops-key" },
  customCleanUpCommands: ["rm -rf /opt/data", "echo done"]
} satisfies JsonObject

const through = Effect.fnUntraced(function* (how: "by itself" | "from a pool", spec: JsonObject) {
  const made = yield* world
  if (how === "from a pool")
    yield* createHost(made.kube, {
      name: "h1",
      address: "10.0.0.1",
      labels: { "topology.kubernetes.io/zone": "a" },
      machine: spec
    })
  yield* createMachine(made.kube, {
    name: "m1",
    ...(how === "from a pool" ? { pool: "default" } : { spec, labels: { "topology.kubernetes.io/zone": "a" } })
  })
  yield* made.start
  yield* pass(20)
  const ready = yield* made.kube.get(RemoteMachines, ref("m1"))
  yield* made.kube.delete(RemoteMachines, ref("m1"))
  yield* pass(20)
  const [run, clean] = made.asked
  if (run?.request.verb !== "run" || clean?.request.verb !== "clean") return assert.fail("no run, or no cleaning")
  return { ready, run: { ...run, request: run.request }, clean: { ...clean, request: clean.request }, kube: made.kube }
})

describe("the fields of a machine", () => {
  for (const how of ["by itself", "from a pool"] as const) {
    it.effect(`each does what it says, on a host that the machine has ${how}`, () =>
      Effect.gen(function* () {
        const { run, clean } = yield* through(how, fields)
        for (const { access, request } of [run, clean]) {
          const { address, port, user } = access.target
          assert.deepStrictEqual(
            { address, port, user, useSudo: access.useSudo },
            {
              address: "10.0.0.1",
              port: 2222,
              user: "ops",
              useSudo: true
            }
          )
          assert.strictEqual(request.workingDir, "/srv/bootstrap")
          // commandsAsScript: the three commands of the bootstrap, and the two of the cleaning, as one script each.
          assert.strictEqual(request.steps.length, 1)
        }
        assert.match(run.request.steps[0]?.script ?? "", /echo one.*echo two.*bootstrap-success\.complete/s)
        assert.match(clean.request.steps[0]?.script ?? "", /rm -rf \/opt\/data.*echo done/s)
        assert.notInclude(clean.request.steps[0]?.script ?? "", "k0s")
      })
    )

    it.effect(`each has its default, on a host that the machine has ${how}`, () =>
      Effect.gen(function* () {
        const { run, clean } = yield* through(how, {
          address: "10.0.0.1",
          port: 2222,
          workingDir: "",
          sshKeyRef: { name: "key" }
        })
        assert.strictEqual(run.access.target.user, "root")
        assert.isFalse(run.access.useSudo)
        assert.strictEqual(run.request.workingDir, "/etc/k0smotron")
        assert.strictEqual(run.request.steps.length, 3)
        assert.isTrue(clean.request.steps.some(({ name }) => /k0s/.test(name)))
      })
    )

    it.effect(`the status shows what it promises, on a host that the machine has ${how}`, () =>
      Effect.gen(function* () {
        const { ready, kube } = yield* through(how, fields)
        const { bootstrap, conditions, ...status } = ready.status ?? {}
        assert.deepStrictEqual(status, {
          ready: true,
          initialization: { provisioned: true },
          addresses: [{ type: "ExternalIP", address: "10.0.0.1" }],
          phase: "Ready",
          host: "10.0.0.1:2222",
          failureDomain: "a",
          observedGeneration: ready.metadata.generation ?? 0
        })
        assert.strictEqual(ready.spec.providerID, "remote-machine://10.0.0.1:2222")
        assert.deepStrictEqual([bootstrap?.step, bootstrap?.of, bootstrap?.progress], [1, 1, "1/1"])
        assert.deepStrictEqual(
          conditions?.map(({ type, status: is }) => [type, is]),
          [
            ["Ready", "True"],
            ["HostClaimed", "True"],
            ["Paused", "False"],
            ["Provisioned", "True"]
          ]
        )
        if (how === "by itself") return
        const host = yield* kube.get(PooledRemoteMachines, ref("h1"))
        const { conditions: ofHost, ...shown } = host.status ?? {}
        assert.deepStrictEqual(
          ofHost?.map(({ type, status: is, reason }) => [type, is, reason]),
          [["Ready", "True", "Free"]]
        )
        assert.deepStrictEqual(shown, {
          reserved: false,
          phase: "Free",
          observedGeneration: host.metadata.generation ?? 0
        })
      })
    )
  }

  it.effect("status.bootstrap.startedAt is when the step that it names began, the last one's at the end", () =>
    Effect.gen(function* () {
      const made = yield* makeWorld
      const seconds = 30
      const host = yield* made.addHost(1)
      host.script(/runcmd/, { duration: seconds * 1_000, creates: [SENTINEL] })
      yield* createMachine(made.kube, { name: "m1", pool: "default" })
      yield* made.startProvider()
      const shown = Effect.map(made.kube.get(RemoteMachines, ref("m1")), ({ status }) => status?.bootstrap)
      const began = new Map<number, number>()
      for (let second = 0; second < 4 * seconds; second++) {
        yield* pass(1)
        const { startedAt, step } = (yield* shown) ?? {}
        if (step === undefined) continue
        const at = Date.parse(startedAt ?? "")
        assert.strictEqual(began.get(step) ?? at, at, `step ${step} began once`)
        began.set(step, at)
      }
      const [first = Number.NaN, ...others] = began.values()
      assert.deepStrictEqual([...began.keys()], [1, 2, 3])
      // Kubernetes' times have whole seconds.
      for (const [index, at] of others.entries()) assert.approximately(at - first, (index + 1) * seconds * 1_000, 1_000)
      assert.strictEqual((yield* made.kube.get(RemoteMachines, ref("m1"))).status?.ready, true)
    })
  )

  it.effect("steps that are over before they can be shown leave no start of another one behind", () =>
    Effect.gen(function* () {
      const made = yield* makeWorld
      const seconds = 30
      const host = yield* made.addHost(1)
      host.script("runcmd 1", { duration: seconds * 1_000 })
      yield* createMachine(made.kube, { name: "m1", pool: "default" })
      yield* made.startProvider()
      const shown = Effect.map(made.kube.get(RemoteMachines, ref("m1")), ({ status }) => status?.bootstrap)
      yield* pass(10)
      const first = Date.parse((yield* shown)?.startedAt ?? "")
      yield* pass(2 * seconds)
      const { name, progress, startedAt } = (yield* shown) ?? {}
      assert.deepStrictEqual([name, progress], ["runcmd 3", "3/3"])
      assert.approximately(Date.parse(startedAt ?? "") - first, seconds * 1_000, 1_000)
    })
  )

  it.effect("a provisionJob takes no host, touches none, and the machine can be deleted", () =>
    Effect.gen(function* () {
      const made = yield* makeWorld
      yield* made.addHost(1)
      yield* createMachine(made.kube, { name: "m1", spec: { pool: "default", provisionJob: { sshCommand: "ssh -v" } } })
      yield* createMachine(made.kube, { name: "m2", spec: { address: "10.0.0.1", provisionJob: {} } })
      yield* made.startProvider()
      yield* pass(20)
      for (const name of ["m1", "m2"]) {
        const { metadata, status } = yield* made.kube.get(RemoteMachines, ref(name))
        const ready = status?.conditions?.find(({ type }) => type === "Ready")
        assert.deepStrictEqual([ready?.status, ready?.reason], ["False", "ProvisionJobNotSupported"])
        assert.isUndefined(metadata.annotations?.[CLAIM_ANNOTATION])
        yield* made.kube.delete(RemoteMachines, ref(name))
      }
      yield* pass(20)
      assert.deepStrictEqual((yield* made.kube.list(RemoteMachines)).items, [])
      assert.strictEqual((yield* made.kube.get(PooledRemoteMachines, ref("h1"))).status?.phase, "Free")
      assert.deepStrictEqual(made.witness.entries(), [])
    })
  )

  it.effect("what k0smotron left in failureReason and failureMessage is taken away, and they are never written", () =>
    Effect.gen(function* () {
      const made = yield* makeWorld
      yield* made.addHost(1)
      yield* createMachine(made.kube, { name: "m1", pool: "default" })
      const left = { failureReason: "ProvisionFailed", failureMessage: "ssh: handshake failed" }
      yield* made.kube.patch(RemoteMachines, ref("m1"), { status: left }, { subresource: "status" })
      yield* made.startProvider()
      yield* pass(20)
      const { status } = yield* made.kube.get(RemoteMachines, ref("m1"))
      assert.strictEqual(status?.ready, true)
      assert.notProperty(status, "failureReason")
      assert.notProperty(status, "failureMessage")
    })
  )

  it.effect("port 22 is the default", () =>
    Effect.gen(function* () {
      const made = yield* makeWorld
      yield* made.addHost(1)
      yield* createMachine(made.kube, { name: "m1", spec: { address: "10.0.0.1", sshKeyRef: { name: "key" } } })
      yield* made.startProvider()
      yield* pass(20)
      const machine = yield* made.kube.get(RemoteMachines, ref("m1"))
      assert.strictEqual(machine.spec.providerID, "remote-machine://10.0.0.1:22")
    })
  )
})
