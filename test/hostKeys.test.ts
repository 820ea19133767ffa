/**
 * Holds what becomes of host keys in a machine's life: the one that is seen first is pinned before anything secret is
 * said, and goes with the host from tenant to tenant; another one stops everything until a person has decided; and
 * what a person gives (annotation, known_hosts, jump hosts) binds.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { pinPatch } from "../src/actors/HostPins.ts"
import { recording } from "../src/actors/MachineRecording.ts"
import { Events, Secrets, secretData } from "../src/api/Core.ts"
import * as Names from "../src/api/Names.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../src/api/RemoteMachine.ts"
import { root, SIMULATED_KEY } from "../src/simulation/hosts/Accounts.ts"
import type { SimulatedHost } from "../src/simulation/hosts/SimulatedHost.ts"
import { stepsRunTwice } from "../src/simulation/Witness.ts"
import type { World } from "../src/simulation/World.ts"
import { createKey, createMachine, type MachineInput, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

const { HOST_KEY_ANNOTATION, JUMP_HOST_KEYS_ANNOTATION, RUN_ANNOTATION } = Names

const pinOn = (host: SimulatedHost): string => `ssh-ed25519 ${host.hostKey()}`
const nobody = `SHA256:${"A".repeat(43)}`

const machineOf = (world: World, name = "m1") => world.kube.get(RemoteMachines, ref(name))
const pinOf = (world: World, name = "m1") =>
  Effect.map(machineOf(world, name), ({ metadata }) => metadata.annotations?.[HOST_KEY_ANNOTATION])
const pinOfHost = (world: World, name = "h1") =>
  Effect.map(
    world.kube.get(PooledRemoteMachines, ref(name)),
    ({ metadata }) => metadata.annotations?.[HOST_KEY_ANNOTATION]
  )
const readyOf = (world: World, name = "m1") =>
  Effect.map(machineOf(world, name), ({ status }) => status?.conditions?.find(({ type }) => type === "Ready"))
const annotate = (world: World, name: string, value: string | null, machine = "m1") =>
  world.kube.patch(RemoteMachines, ref(machine), { metadata: { annotations: { [name]: value } } })

const isReady = Effect.fnUntraced(function* (world: World, name = "m1") {
  const ready = yield* readyOf(world, name)
  assert.strictEqual(ready?.status, "True", `${ready?.reason}: ${ready?.message}`)
})

const isRefused = Effect.fnUntraced(function* (world: World, reason: string, says: ReadonlyArray<string>, name = "m1") {
  const ready = yield* readyOf(world, name)
  assert.strictEqual(ready?.reason, reason, ready?.message)
  for (const text of says) assert.include(ready?.message, text)
})

/** A provider, one host, and, unless told otherwise, a machine of its pool that is being provisioned. */
const begin = Effect.fnUntraced(function* (input: Partial<MachineInput> | null = {}) {
  const world = yield* makeWorld
  const host = yield* world.addHost(1)
  if (input !== null) yield* createMachine(world.kube, { name: "m1", pool: "default", ...input })
  return { world, host }
})

const remove = (world: World, name = "m1") => world.kube.delete(RemoteMachines, ref(name))

describe("the key seen first", () => {
  it.effect("is pinned in the write that comes before the first touch, and goes back with the host", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      yield* world.startProvider()
      yield* pass(10)
      yield* isReady(world)
      assert.strictEqual(yield* pinOf(world), pinOn(host))
      const versions = world.history.versions().filter(({ object }) => object?.kind === "RemoteMachine")
      for (const { object } of versions) {
        const { annotations = {} } = object?.metadata ?? {}
        assert.strictEqual(RUN_ANNOTATION in annotations, HOST_KEY_ANNOTATION in annotations)
      }
      assert.isUndefined(yield* pinOfHost(world))
      yield* remove(world)
      yield* pass(10)
      assert.strictEqual(yield* pinOfHost(world), pinOn(host))
    })
  )

  it.effect("binds the host's next tenant: another one gets nothing, until a person takes the pin away", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      yield* world.startProvider()
      yield* pass(10)
      yield* remove(world)
      yield* pass(10)
      const before = pinOn(host)
      host.rotateHostKey()
      const seen = world.witness.entries().length
      yield* createMachine(world.kube, { name: "m2", pool: "default" })
      yield* pass(120)
      assert.strictEqual(yield* pinOf(world, "m2"), before)
      yield* isRefused(
        world,
        "HostKeyChanged",
        [before, pinOn(host), `annotate remotemachine m2 -n default ${HOST_KEY_ANNOTATION}-`],
        "m2"
      )
      assert.strictEqual(world.witness.entries().length, seen, "nothing happened on the host")
      yield* annotate(world, HOST_KEY_ANNOTATION, null, "m2")
      yield* pass(10)
      yield* isReady(world, "m2")
      assert.strictEqual(yield* pinOf(world, "m2"), pinOn(host))
      yield* remove(world, "m2")
      yield* pass(10)
      assert.strictEqual(yield* pinOfHost(world), pinOn(host))
    })
  )

  it.effect("is kept by a quarantined host, and not by a machine that goes to another host", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      const second = yield* world.addHost(2)
      yield* world.kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { [HOST_KEY_ANNOTATION]: pinOn(host) } }
      })
      host.setReachability("refusing")
      yield* world.startProvider()
      yield* pass(5)
      assert.strictEqual(yield* pinOf(world), pinOn(host))
      // The connect budget is spent on h1: the machine moves on, and h2's key is nothing that h1's pin is about.
      yield* pass(200)
      yield* isReady(world)
      assert.strictEqual(yield* pinOf(world), pinOn(second))
      assert.strictEqual(yield* pinOfHost(world, "h1"), pinOn(host))
      second.script("reset k0s", { exitCode: 1 })
      second.script("stop k0s", { exitCode: 1, creates: ["/var/lib/k0s/leftover"] })
      yield* remove(world)
      yield* pass(1800)
      const quarantined = yield* world.kube.get(PooledRemoteMachines, ref("h2"))
      assert.include(quarantined.metadata.annotations?.[Names.CLAIM_ANNOTATION], "quarantined")
      assert.strictEqual(quarantined.metadata.annotations?.[HOST_KEY_ANNOTATION], pinOn(second))
    })
  )

  it.effect(
    "of a quarantined host that has no pin is pinned before it is cleaned again; another one is not cleaned",
    () =>
      Effect.gen(function* () {
        const { world, host } = yield* begin()
        host.script("stop k0s", { exitCode: 1, creates: ["/var/lib/k0s/leftover"] })
        yield* world.startProvider()
        yield* pass(10)
        yield* remove(world)
        yield* pass(1800)
        const annotated = (value: string | null) =>
          world.kube.patch(PooledRemoteMachines, ref("h1"), {
            metadata: { annotations: { [HOST_KEY_ANNOTATION]: value } }
          })
        yield* annotated(nobody)
        const touched = () => world.witness.entries().filter(({ _tag }) => _tag === "StepBegan").length
        const before = touched()
        yield* pass(3600)
        assert.strictEqual(touched(), before, "nothing is cleaned behind another key")
        const events = (yield* world.kube.list(Events)).items.filter(({ reason }) => reason === "HostKeyChanged")
        assert.match(events[0]?.message ?? "", /annotate pooledremotemachine h1/)
        yield* annotated(null)
        yield* pass(7200)
        assert.isAbove(touched(), before)
        assert.strictEqual(yield* pinOfHost(world), pinOn(host))
      })
  )

  it.effect("in the middle of a run: the machine waits for a person, then re-attaches; no step runs twice", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      host.script("runcmd 1", { duration: 30_000 })
      yield* world.startProvider()
      yield* pass(10)
      host.rotateHostKey()
      yield* host.loseConnections
      yield* pass(60)
      yield* isRefused(world, "HostKeyChanged", [pinOn(host)])
      yield* annotate(world, HOST_KEY_ANNOTATION, null)
      yield* pass(10)
      yield* isReady(world)
      assert.strictEqual(yield* pinOf(world), pinOn(host))
      assert.deepStrictEqual(stepsRunTwice(world.witness.entries()), [])
    })
  )

  it.effect("before cleaning: nothing is cleaned behind a key that is not the host's; given by hand, it is", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      yield* world.startProvider()
      yield* pass(10)
      host.rotateHostKey()
      yield* remove(world)
      yield* pass(30)
      yield* isRefused(world, "HostKeyChanged", [pinOn(host)])
      yield* annotate(world, HOST_KEY_ANNOTATION, host.hostKey())
      yield* pass(120)
      assert.strictEqual(yield* pinOfHost(world), host.hostKey())
      assert.deepStrictEqual(host.residue(), [])
    })
  )

  it.effect("of a machine that was taken over from elsewhere is pinned before its cleaning begins", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin(null)
      const spec = {
        address: host.address,
        sshKeyRef: { name: "key" },
        providerID: `remote-machine://${host.address}:22`
      }
      yield* createMachine(world.kube, { name: "m1", spec })
      yield* world.kube.patch(RemoteMachines, ref("m1"), {
        metadata: { finalizers: [Names.REMOTE_MACHINE_FINALIZER] }
      })
      yield* world.startProvider()
      yield* pass(5)
      yield* remove(world)
      yield* pass(20)
      const versions = world.history.versions().filter(({ object }) => object?.kind === "RemoteMachine")
      const pins = versions.map(({ object }) => object?.metadata.annotations?.[HOST_KEY_ANNOTATION])
      assert.include(pins, pinOn(host))
      assert.strictEqual((yield* world.kube.list(RemoteMachines)).items.length, 0)
    })
  )
})

describe("a pin that a person takes away, or writes", () => {
  const machine = (annotations: Readonly<Record<string, string>>): RemoteMachine => ({
    metadata: { name: "m1", namespace: "default", annotations },
    spec: { address: "10.0.0.1" }
  })
  const pinnedMachine = machine({ [HOST_KEY_ANNOTATION]: nobody })

  it("while we write is a conflict that ends what was decided on", () => {
    assert.isTrue(recording.sameFacts(pinnedMachine, pinnedMachine))
    assert.isFalse(recording.sameFacts(pinnedMachine, machine({})))
    assert.isFalse(recording.sameFacts(pinnedMachine, machine({ [HOST_KEY_ANNOTATION]: "SHA256:other" })))
  })

  it("is never written over by what was seen first", () => {
    const pins = { hostKey: "ssh-ed25519 SHA256:seen" }
    assert.deepStrictEqual(pinPatch(pinnedMachine, pins), {})
    assert.deepStrictEqual(pinPatch(machine({ [HOST_KEY_ANNOTATION]: "" }), pins), {
      [HOST_KEY_ANNOTATION]: pins.hostKey
    })
  })
})

describe("a key Secret", () => {
  it.effect("that is mended lets a cleaning go on at once, however long it would have waited", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      yield* world.startProvider()
      yield* pass(10)
      const give = (value: string) => world.kube.patch(Secrets, ref("key"), { data: secretData({ value }) })
      yield* give("simulated:stranger")
      yield* remove(world)
      // Longer than the first pauses: by now a try comes once in about a minute.
      yield* pass(200)
      yield* isRefused(world, "AuthenticationFailed", ["default/key"])
      const connects = host.connectsSeen()
      // A try has just failed: the next one is half a minute away at least.
      while (host.connectsSeen() === connects) yield* pass(1)
      yield* give(SIMULATED_KEY)
      yield* pass(2)
      assert.strictEqual(host.tenancy()?.state, "free")
    })
  )
})

describe("addresses", () => {
  for (const [address, providerID] of [
    ["fd00::7", "remote-machine://[fd00::7]:2222"],
    ["db.example", "remote-machine://db.example:2222"]
  ] as const)
    it.effect(`${address}: is connected to, pinned, and named ${providerID}`, () =>
      Effect.gen(function* () {
        const { world } = yield* begin(null)
        const host = yield* world.hosts.add({ address, port: 2222 })
        yield* createMachine(world.kube, { name: "m1", spec: { address, port: 2222, sshKeyRef: { name: "key" } } })
        yield* world.startProvider()
        yield* pass(10)
        yield* isReady(world)
        const machine = yield* machineOf(world)
        assert.strictEqual(machine.spec.providerID, providerID)
        assert.strictEqual(machine.status?.host, providerID.slice("remote-machine://".length))
        assert.strictEqual(yield* pinOf(world), pinOn(host))
      })
    )
})

describe("a key that was given", () => {
  it.effect("by annotation of the PooledRemoteMachine, as a public key, is the only one that counts", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      const publicKey = host.knownHostsLine().split(" ").slice(1).join(" ")
      yield* world.kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { [HOST_KEY_ANNOTATION]: `${nobody}, ${publicKey}` } }
      })
      yield* world.startProvider()
      yield* pass(10)
      yield* isReady(world)
      assert.strictEqual(yield* pinOf(world), `${nobody}, ${publicKey}`)
    })
  )

  it.effect("by knownHosts of the key's Secret is followed at once, and nothing is pinned beside it", () =>
    Effect.gen(function* () {
      const { world, host } = yield* begin()
      const give = (knownHosts: string) =>
        world.kube.patch(Secrets, ref("key"), { data: secretData({ value: SIMULATED_KEY, knownHosts }) })
      yield* give("elsewhere ssh-ed25519 AAAA")
      yield* world.startProvider()
      yield* pass(5)
      yield* isRefused(world, "KnownHostsInvalid", ["default/key", "line 1"])
      yield* give(`# nobody\n`)
      yield* pass(2)
      yield* isRefused(world, "HostKeyRejected", ["default/key", host.hostKey(), "ssh-keyscan -p 22 10.0.0.1"])
      yield* give(`@revoked * ${host.knownHostsLine().split(" ").slice(1).join(" ")}\n${host.knownHostsLine()}`)
      yield* pass(2)
      yield* isRefused(world, "HostKeyRejected", ["revoked"])
      host.rotateHostKey()
      const line = host.knownHostsLine()
      host.rotateHostKey()
      yield* give(line)
      yield* pass(2)
      yield* isRefused(world, "HostKeyChanged", ["knownHosts", host.hostKey()])
      yield* give(host.knownHostsLine())
      yield* pass(10)
      yield* isReady(world)
      assert.isUndefined(yield* pinOf(world))
      assert.strictEqual(world.witness.entries().filter(({ _tag }) => _tag === "Tenant").length, 1)
    })
  )

  it.effect("and can't be read is a condition that names the annotation", () =>
    Effect.gen(function* () {
      const { world } = yield* begin({ annotations: { [HOST_KEY_ANNOTATION]: "MD5:00:11:22" } })
      yield* world.startProvider()
      yield* pass(5)
      yield* isRefused(world, "HostKeyInvalid", [HOST_KEY_ANNOTATION, "default/m1", "MD5:00:11:22"])
      yield* annotate(world, HOST_KEY_ANNOTATION, null)
      yield* pass(10)
      yield* isReady(world)
    })
  )
})

describe("jump hosts", () => {
  const bastion = { address: "192.0.2.1", port: 2222 }
  const behind = (more: Readonly<Record<string, unknown>> = {}) => ({
    jumpHosts: [{ ...bastion, user: "jump", sshKeyRef: { name: "jump-key" }, ...more }]
  })

  const world = Effect.fnUntraced(function* (machine: Record<string, unknown> = behind()) {
    const made = yield* makeWorld
    const jump = yield* made.hosts.add({ ...bastion, accounts: { jump: root("simulated:jump") } })
    const host = yield* made.addHost(1, {}, { machine: JSON.parse(JSON.stringify(machine)) })
    yield* createKey(made.kube, "jump-key", "simulated:jump")
    yield* createMachine(made.kube, { name: "m1", pool: "default" })
    yield* made.startProvider()
    return { world: made, jump, host }
  })
  const jumpPin = (of: World, name = "m1") =>
    Effect.map(machineOf(of, name), ({ metadata }) => metadata.annotations?.[JUMP_HOST_KEYS_ANNOTATION])

  it.effect("come from the pool's host, are gone through, and their keys are pinned with the host's", () =>
    Effect.gen(function* () {
      const { world: all, jump, host } = yield* world()
      yield* pass(10)
      yield* isReady(all)
      assert.isAbove(jump.connectsSeen(), 0)
      assert.deepStrictEqual(
        (yield* machineOf(all)).spec.jumpHosts?.map(({ address, port }) => ({ address, port })),
        [bastion]
      )
      assert.strictEqual(yield* pinOf(all), pinOn(host))
      const pin = `[${bastion.address}]:${bastion.port} ${pinOn(jump)}`
      assert.strictEqual(yield* jumpPin(all), pin)
      yield* remove(all)
      yield* pass(10)
      const freed = yield* all.kube.get(PooledRemoteMachines, ref("h1"))
      assert.strictEqual(freed.metadata.annotations?.[JUMP_HOST_KEYS_ANNOTATION], pin)
      jump.rotateHostKey()
      yield* createMachine(all.kube, { name: "m2", pool: "default" })
      yield* pass(10)
      yield* isRefused(all, "HostKeyChanged", [pinOn(jump), `${JUMP_HOST_KEYS_ANNOTATION}-`, "default/jump-key"], "m2")
      yield* annotate(all, JUMP_HOST_KEYS_ANNOTATION, null, "m2")
      yield* pass(10)
      yield* isReady(all, "m2")
    })
  )

  it.effect("with a hostKey: only that one, and nothing is pinned for it", () =>
    Effect.gen(function* () {
      const { world: all, jump } = yield* world(behind({ hostKey: nobody }))
      yield* pass(10)
      yield* isRefused(all, "HostKeyChanged", [nobody, "spec.jumpHosts"])
      const { jumpHosts } = behind({ hostKey: jump.hostKey() })
      yield* all.kube.patch(PooledRemoteMachines, ref("h1"), { spec: { machine: { jumpHosts } } })
      yield* pass(10)
      yield* isReady(all)
      assert.isUndefined(yield* jumpPin(all))
    })
  )

  it.effect(
    "that are down make no host suspect; a key of theirs that is refused names its Secret, and is followed at once",
    () =>
      Effect.gen(function* () {
        const { world: all, jump } = yield* world()
        jump.setReachability("refusing")
        yield* pass(400)
        yield* isRefused(all, "ConnectFailed", ["behind a jump host", "jump@192.0.2.1:2222"])
        assert.strictEqual((yield* all.kube.get(PooledRemoteMachines, ref("h1"))).status?.phase, "Reserved")
        const give = (value: string) => all.kube.patch(Secrets, ref("jump-key"), { data: secretData({ value }) })
        yield* give("simulated:stranger")
        jump.setReachability("up")
        yield* pass(120)
        yield* isRefused(all, "AuthenticationFailed", ["Secret default/jump-key"])
        yield* give("simulated:jump")
        yield* pass(10)
        yield* isReady(all)
      })
  )
})
