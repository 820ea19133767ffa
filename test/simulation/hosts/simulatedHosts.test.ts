/**
 * The in-memory host beyond what every host promises: reachability, accounts, scripted steps, k0s, power, and that its
 * witness sees what a broken driver would do.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import ssh2 from "ssh2"
import { workerBootstrap } from "../../../src/domain/BootstrapScript.ts"
import { cleaning } from "../../../src/domain/Cleaning.ts"
import { commandsAsScript, parseCloudConfig, renderCloudConfig } from "../../../src/domain/CloudConfig.ts"
import { SENTINEL, STATE_DIR, TENANCY_FILE } from "../../../src/hosts/Protocol.ts"
import { root } from "../../../src/simulation/hosts/Accounts.ts"
import { type K0sStart, KUBELET_CONF } from "../../../src/simulation/hosts/K0s.ts"
import { makeSimulatedHosts } from "../../../src/simulation/hosts/SimulatedHosts.ts"
import { dirtyHosts, doubleTenants } from "../../../src/simulation/Witness.ts"
import { cleanOf, runOf, tenant } from "../../conformance/hosts/World.ts"
import { seconds, speak, targetOf } from "./speak.ts"

const ADDRESS = "10.0.0.1"
const NO_STEPS = { name: "nothing", script: "true\n" }

const boot = Result.getOrThrow(
  workerBootstrap({ machineName: "m-1", version: "v1.34.1+k0s.0", joinToken: "the-token", preStartCommands: ["true"] })
)

describe("reachability", () => {
  it.effect("unknown, refusing, blackholed and lost connections each fail in their own phase", () =>
    Effect.gen(function* () {
      const hosts = yield* makeSimulatedHosts()
      const host = yield* hosts.add({ address: ADDRESS })
      const phase = (address = ADDRESS) =>
        speak(hosts.client, targetOf(address), { verb: "inspect", tenant: tenant() }).pipe(
          Effect.as("none"),
          Effect.catch((error) => Effect.succeed(error.phase))
        )
      assert.strictEqual(yield* phase("10.9.9.9"), "connect")
      host.setReachability("refusing")
      assert.strictEqual(yield* phase(), "connect")
      host.setReachability("blackholed")
      const waiting = yield* Effect.forkChild(phase())
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual(yield* Fiber.join(waiting), "timeout")
      host.setReachability("up")
      assert.strictEqual(yield* phase(), "none")
      yield* host.powerOff
      const dark = yield* Effect.forkChild(phase())
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual(yield* Fiber.join(dark), "timeout")
    })
  )

  it.effect("a connection that is lost fails its streams as closed, and leaves the run alone", () =>
    Effect.gen(function* () {
      const hosts = yield* makeSimulatedHosts()
      const host = yield* hosts.add({ address: ADDRESS })
      host.script("slow", { duration: 30_000, creates: [SENTINEL] })
      const request = runOf([{ name: "slow", script: "?" }])
      const call = yield* Effect.forkChild(Effect.flip(speak(hosts.client, targetOf(ADDRESS), request)))
      yield* TestClock.adjust("1 second")
      yield* host.loseConnections
      assert.strictEqual((yield* Fiber.join(call)).phase, "closed")
      yield* seconds(120)
      assert.strictEqual(host.tenancy()?.state, "ready")
      assert.deepStrictEqual(hosts.defects(), [])
    })
  )

  it.effect("a mute host connects and never answers", () =>
    Effect.gen(function* () {
      const hosts = yield* makeSimulatedHosts()
      const host = yield* hosts.add({ address: ADDRESS })
      host.setReachability("mute")
      const call = yield* Effect.forkChild(
        speak(hosts.client, targetOf(ADDRESS), { verb: "inspect", tenant: tenant() })
      )
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(call.pollUnsafe())
    })
  )
})

describe("accounts", () => {
  it.effect("a real key is checked as sshd would; a wrong one and one that is none are told apart", () =>
    Effect.gen(function* () {
      const pair = ssh2.utils.generateKeyPairSync("ed25519")
      const other = ssh2.utils.generateKeyPairSync("ed25519")
      const hosts = yield* makeSimulatedHosts()
      yield* hosts.add({ address: ADDRESS, accounts: { root: root(pair.public) } })
      const phase = (key: string, user?: string) =>
        Effect.scoped(hosts.client.connect({ ...targetOf(ADDRESS, key, user), privateKey: Redacted.make(key) })).pipe(
          Effect.as("none"),
          Effect.catch((error) => Effect.succeed(error.phase))
        )
      assert.strictEqual(yield* phase(pair.private), "none")
      assert.strictEqual(yield* phase(other.private), "authentication")
      assert.strictEqual(yield* phase(pair.private, "nobody"), "authentication")
      assert.strictEqual(yield* phase("not a key"), "key")
    })
  )
})

describe("steps", () => {
  it.effect("a scripted failure counts for as often as it says; then the default does", () =>
    Effect.gen(function* () {
      const hosts = yield* makeSimulatedHosts()
      const host = yield* hosts.add({ address: ADDRESS })
      host.script(/^flaky$/, { exitCode: 7, stderr: "why\n", times: 1 })
      const request = runOf([{ name: "flaky", script: "unknown command" }], { sentinel: false })
      const first = yield* speak(hosts.client, targetOf(ADDRESS), request)
      assert.deepStrictEqual(first.slice(-2), [
        { _tag: "Stderr", text: "why" },
        { _tag: "RunFailed", step: 0, code: 7 }
      ])
      const second = yield* speak(hosts.client, targetOf(ADDRESS), { ...request, attempt: 2 })
      assert.deepStrictEqual(second.at(-1), { _tag: "RunSucceeded" })
    })
  )

  it.effect("drawn durations repeat with the seed", () =>
    Effect.gen(function* () {
      const lengths = (seed: number) =>
        Effect.gen(function* () {
          const hosts = yield* makeSimulatedHosts()
          yield* hosts.add({
            address: ADDRESS,
            stepDuration: [1, 100_000],
            connectDelay: [1, 100],
            writeLatency: [0, 50]
          })
          const steps = ["a", "b", "c"].map((name) => ({ name, script: "?" }))
          yield* Effect.forkChild(speak(hosts.client, targetOf(ADDRESS), runOf(steps, { sentinel: false })))
          const start = yield* Effect.map(
            TestClock.testClockWith((clock) => clock.currentTimeMillis),
            Number
          )
          yield* TestClock.adjust("1 hour")
          return hosts.witness.entries().map(({ _tag, at }) => `${_tag} ${at - start}`)
        }).pipe(Effect.scoped, Random.withSeed(seed))
      const first = yield* lengths(1)
      assert.deepStrictEqual(yield* lengths(1), first)
      assert.notDeepEqual(yield* lengths(2), first)
    })
  )
})

describe("k0s", () => {
  const bootAndClean = Effect.fnUntraced(function* (asScript: boolean) {
    const starts: Array<K0sStart> = []
    const hosts = yield* makeSimulatedHosts()
    const host = yield* hosts.add({
      address: ADDRESS,
      k0s: {
        // The first answer is no: k0s asks again.
        started: (start) => Effect.sync(() => starts.push(start) > 1),
        stopped: () => Effect.void,
        left: () => Effect.succeed(true)
      }
    })
    const payload = Result.getOrThrow(parseCloudConfig(renderCloudConfig(boot)))
    const run = runOf(asScript ? [commandsAsScript(payload.steps)] : payload.steps, { files: payload.files })
    const call = yield* Effect.forkChild(speak(hosts.client, targetOf(ADDRESS), { ...run, stepTimeoutSeconds: 3600 }))
    yield* seconds(60)
    assert.deepStrictEqual((yield* Fiber.join(call)).at(-1), { _tag: "RunSucceeded" })
    assert.strictEqual(starts.length, 2)
    assert.strictEqual(starts[1]?.token, "the-token")
    assert.include(starts[1]?.arguments ?? "", "m-1")
    assert.isTrue(host.k0sRunning())
    assert.strictEqual(host.disk.entry("/etc/k0s.token")?.mode, "0600")

    yield* host.reboot
    assert.isTrue(host.k0sRunning(), "the service comes back after a reboot")
    assert.isFalse(host.disk.exists(SENTINEL))
    assert.isTrue(host.disk.exists(KUBELET_CONF))

    const { remove, steps, verify } = cleaning({ bootstrap: "k0s", role: "worker", downloadedK0s: true })
    const cleaned = yield* speak(hosts.client, targetOf(ADDRESS), cleanOf(steps, { remove, verify }))
    assert.deepStrictEqual(cleaned.at(-1), { _tag: "Cleaned" })
    assert.deepStrictEqual(host.residue(), [])
    assert.deepStrictEqual(host.disk.list("/"), [TENANCY_FILE])
    assert.deepStrictEqual(dirtyHosts(hosts.witness.entries()), [])
    assert.deepStrictEqual(hosts.defects(), [])
  })

  it.effect("our bootstrap data joins with its token; our cleaning leaves the disk as it was", () =>
    bootAndClean(false)
  )
  it.effect("the same as one script", () => bootAndClean(true))

  // Seed 1608: power was lost while the disk was full; the service never came back, and its machine never joined.
  it.effect("a disk that is full, at boot too, is waited for by the service: it joins once there is room", () =>
    Effect.gen(function* () {
      let asked = 0
      const hosts = yield* makeSimulatedHosts()
      const host = yield* hosts.add({
        address: ADDRESS,
        k0s: {
          started: () => Effect.sync(() => ++asked > 1),
          stopped: () => Effect.void,
          left: () => Effect.succeed(true)
        }
      })
      const run = runOf(boot.steps, { files: boot.files, stepTimeoutSeconds: 3600 })
      yield* Effect.forkChild(Effect.exit(speak(hosts.client, targetOf(ADDRESS), run)))
      yield* seconds(5)
      assert.strictEqual(asked, 1)
      host.disk.setFull("/")
      yield* host.reboot
      yield* seconds(60)
      assert.isTrue(host.k0sRunning())
      assert.strictEqual(asked, 1, "what it can't keep it does not ask for")
      host.disk.setFull(undefined)
      yield* seconds(60)
      assert.isTrue(host.disk.exists(KUBELET_CONF))
      assert.strictEqual(asked, 2)
    })
  )

  it.effect("a cluster that never lets it in fails the step that waits for it", () =>
    Effect.gen(function* () {
      const hosts = yield* makeSimulatedHosts()
      yield* hosts.add({
        address: ADDRESS,
        k0s: { started: () => Effect.succeed(false), stopped: () => Effect.void, left: () => Effect.succeed(true) }
      })
      const run = runOf(boot.steps, { files: boot.files, stepTimeoutSeconds: 3600 })
      const call = yield* Effect.forkChild(speak(hosts.client, targetOf(ADDRESS), run))
      yield* seconds(600)
      const events = yield* Fiber.join(call)
      const failed = events.at(-1)
      assert.strictEqual(failed?._tag, "RunFailed")
      assert.strictEqual(boot.steps[failed?._tag === "RunFailed" ? failed.step : -1]?.name, "wait for k0s")
    })
  )
})

describe("the witness on a host", () => {
  it.effect("sees a tenant that came without the former one's cleaning", () =>
    Effect.gen(function* () {
      const hosts = yield* makeSimulatedHosts()
      const host = yield* hosts.add({ address: ADDRESS })
      const files = [{ path: "/etc/theirs", content: new Uint8Array([1]), mode: "0600" }]
      yield* speak(hosts.client, targetOf(ADDRESS), runOf([NO_STEPS], { files, sentinel: false }))
      // What a driver without a tenancy record would let through.
      host.disk.remove(STATE_DIR)
      const other = runOf([NO_STEPS], { tenant: tenant("claim-b"), dataHash: "bbbb", sentinel: false })
      yield* speak(hosts.client, targetOf(ADDRESS), other)
      assert.strictEqual(doubleTenants(hosts.witness.entries()).length, 1)
      assert.include(dirtyHosts(hosts.witness.entries())[0]?.what, "/etc/theirs")
    })
  )

  it.effect("forgets a host whose disk was replaced", () =>
    Effect.gen(function* () {
      const hosts = yield* makeSimulatedHosts()
      const host = yield* hosts.add({ address: ADDRESS })
      const key = host.hostKey()
      yield* speak(hosts.client, targetOf(ADDRESS), runOf([NO_STEPS], { sentinel: false }))
      yield* host.reimage
      assert.notStrictEqual(host.hostKey(), key)
      assert.isUndefined(host.tenancy())
      const other = runOf([NO_STEPS], { tenant: tenant("claim-b"), dataHash: "bbbb", sentinel: false })
      yield* speak(hosts.client, targetOf(ADDRESS), other)
      assert.deepStrictEqual(doubleTenants(hosts.witness.entries()), [])
      assert.deepStrictEqual(dirtyHosts(hosts.witness.entries()), [])
    })
  )
})
