/**
 * Holds: bad input gets a condition and an Event that name the object, the cause and the remedy; nothing crashes; and
 * mending the input lets the machine go on by itself (no restart, no edit of the machine).
 */
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Events, Secrets, secretData } from "../src/api/Core.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type { JsonObject } from "../src/kube/KubeClient.ts"
import type { KubeError } from "../src/kube/KubeError.ts"
import { root, SIMULATED_KEY, withoutSudo } from "../src/simulation/hosts/Accounts.ts"
import type { SimulatedHost } from "../src/simulation/hosts/SimulatedHost.ts"
import type { World } from "../src/simulation/World.ts"
import { CLOUD_CONFIG, createHost, createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

interface Bad {
  readonly name: string
  readonly reason: string
  /** Object, cause, remedy. */
  readonly says: ReadonlyArray<RegExp>
  readonly spec?: JsonObject
  readonly pool?: string
  readonly data?: string
  readonly before?: (world: World, host: SimulatedHost) => Effect.Effect<unknown, KubeError>
  readonly mend: (world: World, host: SimulatedHost) => Effect.Effect<unknown, KubeError>
}

const patchSecret = (world: World, name: string, value: string) =>
  world.kube.patch(Secrets, ref(name), { data: secretData({ value }) })

const table: ReadonlyArray<Bad> = [
  {
    name: "unknown pool",
    reason: "PoolEmpty",
    pool: "nowhere",
    says: [/namespace default/, /"nowhere"/, /Create one, or correct spec\.pool/],
    mend: (world) =>
      Effect.andThen(
        world.hosts.add({ address: "10.0.0.9", name: "h9" }),
        createHost(world.kube, { name: "h9", address: "10.0.0.9", pool: "nowhere" })
      )
  },
  {
    name: "empty pool",
    reason: "NoFreeHost",
    pool: "default",
    says: [/"default"/, /1 in maintenance/, /Add a PooledRemoteMachine or free one/],
    before: (world) =>
      world.kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { "machinist.dev/maintenance": "" } }
      }),
    mend: (world) =>
      world.kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { "machinist.dev/maintenance": null } }
      })
  },
  {
    name: "missing key Secret",
    reason: "SSHKeySecretNotFound",
    spec: { address: "10.0.0.1", sshKeyRef: { name: "later" } },
    says: [/later/, /not found/, /Create it, or correct the reference/],
    mend: (world) => world.kube.create(Secrets, { metadata: ref("later"), data: secretData({ value: SIMULATED_KEY }) })
  },
  {
    name: "no key reference",
    reason: "SSHKeyRefMissing",
    spec: { address: "10.0.0.1" },
    says: [/default\/m1/, /sshKeyRef/, /name the Secret/],
    mend: (world) => world.kube.patch(RemoteMachines, ref("m1"), { spec: { sshKeyRef: { name: "key" } } })
  },
  {
    name: "a key that does not parse",
    reason: "InvalidKey",
    spec: { address: "10.0.0.1", sshKeyRef: { name: "bad" } },
    says: [/root@10\.0\.0\.1:22/, /key/],
    before: (world) =>
      world.kube.create(Secrets, { metadata: ref("bad"), data: secretData({ value: "CANARY not a key" }) }),
    mend: (world) => patchSecret(world, "bad", SIMULATED_KEY)
  },
  {
    name: "a user that the host refuses",
    reason: "AuthenticationFailed",
    spec: { address: "10.0.0.1", user: "nobody", sshKeyRef: { name: "key" } },
    says: [/nobody@10\.0\.0\.1:22/, /refused/],
    mend: (world) => world.kube.patch(RemoteMachines, ref("m1"), { spec: { user: "root" } })
  },
  {
    name: "an address that does not answer",
    reason: "ConnectFailed",
    spec: { address: "10.0.0.1", sshKeyRef: { name: "key" } },
    says: [/10\.0\.0\.1:22/, /refused/],
    before: (_, host) => Effect.sync(() => host.setReachability("refusing")),
    mend: (_, host) => Effect.sync(() => host.setReachability("up"))
  },
  {
    name: "sudo that is refused",
    reason: "SudoRefused",
    spec: { address: "10.0.0.1", user: "ops", useSudo: true, sshKeyRef: { name: "key" } },
    says: [/ops@10\.0\.0\.1:22/, /sudo/, /password/],
    mend: (_, host) => Effect.sync(() => host.accounts.set("ops", { ...root(SIMULATED_KEY), uid: 1001 }))
  },
  {
    name: "a user who is not root, without useSudo",
    reason: "Unsupported",
    spec: { address: "10.0.0.1", user: "ops", sshKeyRef: { name: "key" } },
    says: [/ops@10\.0\.0\.1:22/, /root/, /useSudo/],
    mend: (world, host) =>
      Effect.andThen(
        Effect.sync(() => host.accounts.set("ops", { ...root(SIMULATED_KEY), uid: 1001 })),
        world.kube.patch(RemoteMachines, ref("m1"), { spec: { useSudo: true } })
      )
  },
  {
    name: "a command that fails",
    reason: "StepFailed",
    pool: "default",
    says: [/root@10\.0\.0\.1:22/, /runcmd 2/, /7/, /no such package/],
    before: (_, host) => Effect.sync(() => host.script("runcmd 2", { exitCode: 7, stderr: "E: no such package" })),
    mend: (world, host) =>
      Effect.andThen(
        Effect.sync(() => host.script("runcmd 2", { exitCode: 0 })),
        world.kube.patch(RemoteMachines, ref("m1"), { metadata: { annotations: { "machinist.dev/retry": "1" } } })
      )
  },
  {
    name: "data that is not cloud-config",
    reason: "BootstrapDataInvalid",
    pool: "default",
    data: "machine: {token: CANARY}",
    says: [/default\/m1-bootstrap/, /#cloud-config/],
    mend: (world) => patchSecret(world, "m1-bootstrap", CLOUD_CONFIG)
  },
  {
    name: "data that asks for what can't be done over SSH",
    reason: "BootstrapDataInvalid",
    pool: "default",
    data: "#cloud-config\nusers: [{name: CANARY}]\nmounts: [[CANARY]]\nruncmd: [echo]",
    says: [/default\/m1-bootstrap/, /mounts, users can't be done over SSH/],
    mend: (world) => patchSecret(world, "m1-bootstrap", CLOUD_CONFIG)
  },
  {
    name: "a template that asks what is not known",
    reason: "BootstrapDataInvalid",
    pool: "default",
    data: "## template: jinja\n#cloud-config\nruncmd: ['echo CANARY {{ ds.meta_data.nope }}']",
    says: [/default\/m1-bootstrap/, /near line 3: ds\.meta_data\.nope is not known of this host/],
    // As RKE2's provider stores it, and of the machine's own name.
    mend: (world) =>
      world.kube.patch(Secrets, ref("m1-bootstrap"), {
        data: secretData({
          value: gzipSync(
            `## template: jinja\n${CLOUD_CONFIG.replace("runcmd:", "runcmd:\n- echo {{ ds.meta_data.local_hostname }} {{ v1.distro }} {{ ds.meta_data.name }}")}`
          )
        })
      })
  },
  {
    name: "a provisionJob",
    reason: "ProvisionJobNotSupported",
    pool: "default",
    spec: { provisionJob: { sshCommand: "ssh" } },
    says: [/provisionJob/, /Remove the field/],
    mend: (world) => world.kube.patch(RemoteMachines, ref("m1"), { spec: { provisionJob: null } })
  }
]

describe("bad input", () => {
  for (const bad of table) {
    it.effect(`${bad.name}: ${bad.reason}, and the machine goes on when it is mended`, () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const { kube } = world
        const pooled = bad.pool !== undefined
        const host = pooled
          ? yield* world.addHost(1)
          : yield* world.hosts.add({
              address: "10.0.0.1",
              name: "h1",
              accounts: { root: root(SIMULATED_KEY), ops: withoutSudo(SIMULATED_KEY) }
            })
        if (bad.before !== undefined) yield* bad.before(world, host)
        yield* createMachine(kube, {
          name: "m1",
          ...(bad.pool === undefined ? {} : { pool: bad.pool }),
          ...(bad.spec === undefined ? {} : { spec: bad.spec }),
          ...(bad.data === undefined ? {} : { data: bad.data })
        })
        const provider = yield* world.startProvider()
        yield* pass(20)
        const stuck = yield* kube.get(RemoteMachines, ref("m1"))
        const ready = stuck.status?.conditions?.find((one) => one.type === "Ready")
        assert.strictEqual(ready?.status, "False")
        assert.strictEqual(ready?.reason, bad.reason)
        for (const words of bad.says) assert.match(ready?.message ?? "", words)
        const events = (yield* kube.list(Events)).items.filter((one) => one.involvedObject?.name === "m1")
        const event = events.find((one) => one.reason === bad.reason)
        assert.isDefined(event, `an Event with reason ${bad.reason}, of ${events.map((one) => one.reason).join()}`)
        assert.strictEqual(event?.type, "Warning")
        for (const words of bad.says) assert.match(event?.message ?? "", words)
        assert.notInclude(JSON.stringify([stuck.status, events]), "CANARY")
        yield* bad.mend(world, host)
        yield* pass(120)
        const mended = yield* kube.get(RemoteMachines, ref("m1"))
        assert.strictEqual(mended.status?.ready, true, JSON.stringify(mended.status?.conditions))
        assert.isUndefined(provider.died())
      }).pipe(Effect.scoped)
    )
  }
})
