/**
 * Holds, with the real command line, a real API server and real sshd hosts: whatever is wrong with what a machine was
 * given, its condition and an Event name the object, the cause and the remedy; and once the input is mended the machine
 * goes on by itself.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Secrets, secretData } from "../../src/api/Core.ts"
import * as Names from "../../src/api/Names.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../../src/kube/KubeClient.ts"
import { available } from "./apiserver/ApiServer.ts"
import { createDataSecret, createMachine, dataSecret } from "./e2e/Capi.ts"
import * as Controller from "./e2e/Controller.ts"
import {
  addHost,
  bootstrapData,
  CLUSTER,
  eventsOf,
  KEY,
  Live,
  makeNamespace,
  readyCondition,
  summary,
  until,
  untilReady,
  type View
} from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

interface World {
  readonly kube: KubeClientShape
  readonly view: View
  readonly host: TestHosts.TestHost
  readonly name: string
}

interface BadInput {
  readonly name: string
  readonly spec: (host: TestHosts.TestHost) => JsonObject
  /** Undefined: no Secret. Absent: as it should be. */
  readonly data?: (name: string) => Uint8Array | string | undefined
  /** Before the machine is there. */
  readonly before?: (world: World) => Effect.Effect<unknown, unknown>
  readonly reason: string
  /** What the message must say: which object, why, what to do. */
  readonly says: (world: World) => ReadonlyArray<string | RegExp>
  readonly mend: (world: World) => Effect.Effect<unknown, unknown, Live>
}

const at = (host: TestHosts.TestHost): JsonObject => ({ address: host.address, sshKeyRef: { name: KEY } })
const inNamespace = (world: World, name: string): string => `${world.view.namespace}/${name}`
const patched = (spec: JsonObject) => (world: World) =>
  world.kube.patch(RemoteMachines, { namespace: world.view.namespace, name: world.name }, { spec })
const hostKey = (world: World) => secretData({ value: world.host.privateKey })

const BAD: ReadonlyArray<BadInput> = [
  {
    name: "wrong-user",
    spec: (host) => ({ ...at(host), user: "nobody-here" }),
    reason: "AuthenticationFailed",
    says: ({ host }) => [`nobody-here@${host.address}`, /key|user/],
    mend: patched({ user: "root" })
  },
  {
    name: "refused",
    spec: at,
    before: ({ host }) => TestHosts.powerOff(host),
    reason: "ConnectFailed",
    says: ({ host }) => [host.address, /refused/i],
    mend: ({ host }) => TestHosts.powerOn(host)
  },
  {
    name: "sudo-refused",
    spec: (host) => ({ ...at(host), user: "nosudo", useSudo: true }),
    reason: "SudoRefused",
    says: ({ host }) => [`nosudo@${host.address}`, /password/, /NOPASSWD|sudoers|without a password/i],
    mend: patched({ user: "machinist" })
  },
  {
    name: "failing-command",
    spec: at,
    data: (name) => bootstrapData(name, { pre: ["test -e /srv/mended || { echo 'no mirror answers' >&2; exit 7; }"] }),
    reason: "StepFailed",
    says: ({ host }) => [host.address, "pre-start 2", "exit code 7", "no mirror answers"],
    mend: (world) =>
      Effect.andThen(
        TestHosts.writeFile(world.host, "/srv/mended", ""),
        // The host is no object that anyone watches: a person says so.
        world.kube.patch(
          RemoteMachines,
          { namespace: world.view.namespace, name: world.name },
          { metadata: { annotations: { [Names.RETRY_ANNOTATION]: "1" } } }
        )
      )
  },
  {
    name: "garbage-key",
    spec: (host) => ({ ...at(host), sshKeyRef: { name: "garbage" } }),
    before: ({ kube, view }) =>
      kube.create(Secrets, {
        metadata: { namespace: view.namespace, name: "garbage" },
        data: secretData({ value: "not a key, but secret all the same" })
      }),
    reason: "InvalidKey",
    says: (world) => [/key/, inNamespace(world, "garbage")],
    mend: (world) =>
      world.kube.patch(Secrets, { namespace: world.view.namespace, name: "garbage" }, { data: hostKey(world) })
  },
  {
    name: "no-key",
    spec: (host) => ({ ...at(host), sshKeyRef: { name: "absent" } }),
    reason: "SSHKeySecretNotFound",
    says: () => [/"?absent"?/, "Create it"],
    mend: (world) =>
      world.kube.create(Secrets, {
        metadata: { namespace: world.view.namespace, name: "absent" },
        data: hostKey(world)
      })
  },
  {
    name: "no-cloud-config",
    spec: at,
    data: () => "echo hello\n",
    reason: "BootstrapDataInvalid",
    says: (world) => [inNamespace(world, dataSecret(world.name)), /cloud-config/],
    mend: (world) =>
      world.kube.patch(
        Secrets,
        { namespace: world.view.namespace, name: dataSecret(world.name) },
        { data: secretData({ value: bootstrapData(world.name) }) }
      )
  },
  {
    name: "no-data",
    spec: at,
    data: () => undefined,
    reason: "BootstrapDataSecretNotFound",
    says: (world) => [dataSecret(world.name), "Create it"],
    mend: (world) => createDataSecret(world.kube, world.view.namespace, world.name, bootstrapData(world.name))
  },
  {
    name: "unknown-pool",
    spec: () => ({ pool: "no-such-pool" }),
    reason: "PoolEmpty",
    says: () => ["no-such-pool", /PooledRemoteMachine/],
    mend: (world) => addHost(world.view, "late", world.host, "no-such-pool")
  }
]

const assertSays = (text: string, expected: ReadonlyArray<string | RegExp>): void => {
  for (const one of expected) {
    if (typeof one === "string") assert.include(text, one)
    else assert.match(text, one)
  }
}

describe.skipIf(!available || TestHosts.unavailable !== undefined)("machinist controller, given bad input", () => {
  it.layer(Live.layer, { timeout: "15 minutes", excludeTestServices: true })((it) => {
    it.effect("says what is wrong, and goes on once it is mended", () =>
      Effect.gen(function* () {
        const { kube, server } = yield* Live
        const hosts = yield* TestHosts.light(BAD.length)
        const view = yield* makeNamespace(hosts[0]?.privateKey ?? "")
        const controller = yield* Controller.begin(server.kubeconfigPath, view.namespace)
        const row = Effect.fnUntraced(function* (bad: BadInput, index: number) {
          const host = hosts[index]
          if (host === undefined) return yield* Effect.die("no host")
          const { name } = bad
          const world: World = { kube, view, host, name }
          yield* bad.before?.(world) ?? Effect.void
          const data = bad.data === undefined ? bootstrapData(name) : bad.data(name)
          yield* createMachine(kube, { namespace: view.namespace, cluster: CLUSTER, name, spec: bad.spec(host), data })
          yield* until(
            `${name} says ${bad.reason}`,
            () => readyCondition(view, name)?.reason === bad.reason,
            () => summary(view)
          )
          const condition = readyCondition(view, name)
          assert.strictEqual(condition?.status, "False")
          assertSays(condition?.message ?? "", bad.says(world))
          assert.notInclude(condition?.message ?? "", "secret all the same")
          const event = yield* eventsOf(view, name).pipe(
            Effect.map((events) => events.find((one) => one.type === "Warning" && one.reason === bad.reason)),
            Effect.repeat({ until: (found) => found !== undefined })
          )
          assertSays(event?.message ?? "", bad.says(world))
          assert.strictEqual(event?.involvedObject?.kind, "RemoteMachine")
          assert.isUndefined(view.machines.get(name)?.status?.failureReason)
          yield* bad.mend(world)
          yield* untilReady(view, [name])
          const once = Effect.runSync(TestHosts.witness(host)).filter((line) => line.what === "pre").length
          assert.strictEqual(once, 1, `${name}: the steps before the trouble ran once`)
        })
        yield* Effect.forEach(BAD, row, { concurrency: "unbounded", discard: true })
        assert.notInclude(controller.log().join("\n"), "secret all the same")
        assert.strictEqual(yield* controller.stop, 0)
      }).pipe(Effect.scoped)
    )
  })
})
