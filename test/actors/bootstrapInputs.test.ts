/**
 * Holds what each wrong or missing input of a K0sWorkerConfig is told as: one condition reason, a message that names the
 * object and the remedy and never a secret, one Event, and no token minted; mended, it goes on.
 */
import { randomBytes } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Machines } from "../../src/api/ClusterApi.ts"
import { ConfigMaps, Secrets, secretData } from "../../src/api/Core.ts"
import { K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import type { JsonObject } from "../../src/kube/KubeClient.ts"
import { KubeError } from "../../src/kube/KubeError.ts"
import * as B from "../support/bootstrap.ts"
import { ref } from "../support/cluster.ts"

type Act = (all: B.World) => Effect.Effect<unknown, KubeError>

interface Case {
  readonly name: string
  readonly spec?: JsonObject
  readonly before?: Act
  readonly reason: string
  readonly says: RegExp
  readonly mend: Act
}

const respec =
  (spec: JsonObject): Act =>
  (all) =>
    all.kube.patch(K0sWorkerConfigs, ref(B.NAME), { spec })
const put =
  (name: string, data: Readonly<Record<string, string | Uint8Array>>): Act =>
  (all) =>
    all.kube.create(Secrets, { metadata: ref(name), data: secretData(data) })
const change =
  (name: string, data: Readonly<Record<string, string>>): Act =>
  (all) =>
    all.kube.patch(Secrets, ref(name), { data: secretData(data) })
const drop =
  (name: string): Act =>
  (all) =>
    all.kube.delete(Secrets, ref(name))
const fileFrom = (contentFrom: JsonObject): JsonObject => ({ files: [{ path: "/etc/x", contentFrom }] })

const cases: ReadonlyArray<Case> = [
  {
    name: "Butane that is none",
    spec: { ignition: { variant: "fcos", version: "1.5.0", additionalConfig: "storage: {fils: [hush-hush]}" } },
    reason: "InvalidConfig",
    says: /spec\.ignition\.additionalConfig has storage\.fils/,
    mend: respec({ ignition: null })
  },
  {
    name: "a downloadURL that nobody can fetch",
    spec: { downloadURL: "https://user@/k0s" },
    reason: "InvalidConfig",
    says: /spec\.downloadURL/,
    mend: respec({ downloadURL: null })
  },
  {
    name: "args that no shell can read",
    spec: { args: ["--x='unclosed"] },
    reason: "InvalidConfig",
    says: /spec\.args\[0\]/,
    mend: respec({ args: [] })
  },
  {
    name: "a label that no Secret can have",
    spec: { secretMetadata: { labels: { "a key": "x" } } },
    reason: "InvalidConfig",
    says: /spec\.secretMetadata\.labels has a key/,
    mend: respec({ secretMetadata: null })
  },
  {
    name: "a value that no label of a Secret can have",
    spec: { secretMetadata: { labels: { team: "hush-hush!" } } },
    reason: "InvalidConfig",
    says: /spec\.secretMetadata\.labels has a value for team/,
    mend: respec({ secretMetadata: null })
  },
  {
    name: "an annotation that no Secret can have",
    spec: { secretMetadata: { annotations: { "a/b/c": "x" } } },
    reason: "InvalidConfig",
    says: /spec\.secretMetadata\.annotations has a key/,
    mend: respec({ secretMetadata: null })
  },
  {
    name: "two files of one path, spelled differently",
    spec: {
      files: [
        { path: "/etc/x", content: "1" },
        { path: "/etc//x", content: "2" }
      ]
    },
    reason: "InvalidConfig",
    says: /spec\.files\[1\]\.path/,
    mend: respec({ files: [] })
  },
  {
    name: "a file's Secret is not there",
    spec: fileFrom({ secretRef: { name: "files", key: "x" } }),
    reason: "ContentNotFound",
    says: /spec\.files\[0\]\.contentFrom: Secret default\/files is not there/,
    mend: put("files", { x: "content" })
  },
  {
    name: "a file's ConfigMap is not there",
    spec: fileFrom({ configMapRef: { name: "files", key: "x" } }),
    reason: "ContentNotFound",
    says: /ConfigMap default\/files is not there/,
    mend: (all) => all.kube.create(ConfigMaps, { metadata: ref("files"), data: { x: "content" } })
  },
  {
    name: "a file's Secret lacks the key",
    before: put("files", { y: "hush-hush" }),
    spec: fileFrom({ secretRef: { name: "files", key: "x" } }),
    reason: "ContentNotFound",
    says: /has no key "x"/,
    mend: change("files", { x: "content" })
  },
  {
    name: "custom user data is not there",
    spec: { customUserDataRef: { secretRef: { name: "mine", key: "x" } } },
    reason: "ContentNotFound",
    says: /spec\.customUserDataRef: Secret default\/mine/,
    mend: put("mine", { x: "runcmd: [true]" })
  },
  {
    name: "custom user data that cloud-init would leave out",
    before: put("mine", { x: "runcmd: [hush-hush" }),
    spec: { customUserDataRef: { secretRef: { name: "mine", key: "x" } } },
    reason: "InvalidConfig",
    says: /spec\.customUserDataRef: the data is not valid YAML/,
    mend: change("mine", { x: "runcmd: [true]" })
  },
  {
    name: "more than a Secret can carry",
    before: put("big", { x: randomBytes(800 * 1024) }),
    spec: fileFrom({ secretRef: { name: "big", key: "x" } }),
    reason: "BootstrapDataTooLarge",
    says: /\/etc\/x is \d+ KiB.*A Secret holds 1024 KiB/,
    mend: change("big", { x: "small" })
  },
  {
    name: "the Machine's version is none",
    before: (all) => all.kube.patch(Machines, ref(B.NAME), { spec: { version: "not a version" } }),
    reason: "InvalidConfig",
    says: /owner Machine/,
    mend: (all) => all.kube.patch(Machines, ref(B.NAME), { spec: { version: "v1.33.1" } })
  },
  {
    name: "no certificate authority",
    before: drop("demo-ca"),
    reason: "CertificateAuthorityNotFound",
    says: /Secret default\/demo-ca/,
    mend: put("demo-ca", { "tls.crt": B.CA })
  },
  {
    name: "an empty certificate authority",
    before: change("demo-ca", { "tls.crt": " " }),
    reason: "CertificateAuthorityInvalid",
    says: /default\/demo-ca has nothing under key "tls.crt"/,
    mend: change("demo-ca", { "tls.crt": B.CA })
  },
  {
    name: "no kubeconfig",
    before: drop("demo-kubeconfig"),
    reason: "KubeconfigNotFound",
    says: /default\/demo-kubeconfig/,
    mend: put("demo-kubeconfig", { value: B.WORKLOAD_KUBECONFIG })
  },
  {
    name: "a kubeconfig that is none",
    before: change("demo-kubeconfig", { value: "hush-hush" }),
    reason: "KubeconfigInvalid",
    says: /is not a kubeconfig/,
    mend: change("demo-kubeconfig", { value: B.WORKLOAD_KUBECONFIG })
  },
  {
    name: "the Secret's name is taken by another's",
    before: put(B.NAME, { value: "hush-hush" }),
    reason: "DataSecretNotOurs",
    says: /Secret default\/w1 exists/,
    mend: drop(B.NAME)
  }
]

describe("each wrong input has its reason", () => {
  for (const one of cases) {
    it.effect(one.name, () =>
      Effect.gen(function* () {
        const all = yield* B.world
        yield* B.createWorker(all.kube, one.spec)
        if (one.before !== undefined) yield* one.before(all)
        const process = yield* B.process(all)
        yield* B.eventually(
          one.reason,
          Effect.map(B.readyReason(all), (reason) => reason === one.reason)
        )
        const config = yield* B.configNow(all)
        assert.strictEqual(B.conditionOf(config, "Ready")?.status, "False")
        assert.strictEqual(B.conditionOf(config, "DataSecretAvailable")?.reason, one.reason)
        assert.match(B.conditionOf(config, "Ready")?.message ?? "", one.says)
        assert.notInclude(JSON.stringify(config?.status), "hush-hush")
        assert.isUndefined(config?.status?.dataSecretName)
        assert.isUndefined(config?.status?.failureReason)

        // Nearly an hour of waiting, after which Events go: nothing minted, nothing written again, one Event.
        const writes = process.writes()
        yield* B.settle(3_000_000)
        assert.strictEqual(process.writes(), writes)
        assert.deepStrictEqual(yield* B.tokens(all), [])
        assert.isFalse(B.hasOurFinalizer(yield* B.configNow(all)))
        const said = (yield* B.eventReasons(all)).filter((reason) => reason === one.reason)
        assert.strictEqual(said.length, 1)

        yield* one.mend(all)
        yield* B.eventually("ready", B.isReady(all))
        assert.strictEqual((yield* B.tokens(all)).length, 1)
      }).pipe(Effect.scoped)
    )
  }

  it.effect("refused by the workload cluster: waits for other credentials, does not hammer", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      let refused = 0
      const wrapWorkload: NonNullable<B.ProcessOptions["wrapWorkload"]> = (kube) => ({
        ...kube,
        list: (kind, options) =>
          Effect.suspend(() => {
            if (refused < 0) return kube.list(kind, options)
            refused += 1
            return Effect.fail(
              new KubeError({ reason: "Forbidden", verb: "list", kind: "Secret", message: "secrets is forbidden" })
            )
          })
      })
      yield* B.process(all, { wrapWorkload })
      yield* B.eventually(
        "says so",
        Effect.map(B.readyReason(all), (reason) => reason === "WorkloadClusterRefused")
      )
      yield* B.settle(600_000)
      assert.isAtMost(refused, 12)
      refused = -1
      yield* change("demo-kubeconfig", { other: "changed" })(all)
      yield* B.eventually("ready", B.isReady(all))
    }).pipe(Effect.scoped)
  )
})
