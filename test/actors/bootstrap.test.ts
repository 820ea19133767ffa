/**
 * Holds the life of a K0sWorkerConfig (CONTRACT section 3): what is written, waited for, kept, revoked and let go; on an
 * API server in memory, under virtual time.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { Clusters, Machines } from "../../src/api/ClusterApi.ts"
import { Secrets, secretText } from "../../src/api/Core.ts"
import { K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import { parseCloudConfig } from "../../src/domain/CloudConfig.ts"
import { decodeJoinToken } from "../../src/domain/JoinToken.ts"
import { KubeError } from "../../src/kube/KubeError.ts"
import * as B from "../support/bootstrap.ts"
import { ref } from "../support/cluster.ts"

const HOUR_MILLIS = 3_600_000

describe("a K0sWorkerConfig's life", () => {
  it.effect("renders once all is there: Secret, status and token as the contract has them", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      const config = yield* B.createWorker(all.kube, {
        files: [{ path: "/etc/motd", content: "hello", permissions: "0640" }],
        secretMetadata: {
          labels: { team: "a", "cluster.x-k8s.io/cluster-name": "other" },
          annotations: { note: "x" }
        }
      })
      const process = yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      assert.deepStrictEqual(B.phases(process.states), ["Claimed", "Provisioning", "Ready"])

      const stored = yield* B.configNow(all)
      assert.isTrue(B.hasOurFinalizer(stored))
      assert.strictEqual(stored?.status?.ready, true)
      assert.strictEqual(stored?.status?.initialization?.dataSecretCreated, true)
      assert.strictEqual(stored?.status?.dataSecretName, B.NAME)
      assert.strictEqual(stored?.status?.phase, "Ready")
      assert.strictEqual(B.conditionOf(stored, "DataSecretAvailable")?.status, "True")
      assert.strictEqual(B.conditionOf(stored, "Paused")?.reason, "NotPaused")

      const secret = yield* B.dataSecret(all)
      if (secret === undefined) return assert.fail("no Secret")
      assert.strictEqual(secret.type, "cluster.x-k8s.io/secret")
      assert.deepStrictEqual(secret.metadata.labels, { team: "a", "cluster.x-k8s.io/cluster-name": "demo" })
      assert.deepStrictEqual(secret.metadata.annotations, { note: "x" })
      assert.deepStrictEqual(secret.metadata.ownerReferences, [
        {
          apiVersion: "bootstrap.cluster.x-k8s.io/v1beta1",
          kind: "K0sWorkerConfig",
          name: B.NAME,
          uid: config.metadata.uid ?? "",
          controller: true
        }
      ])
      assert.strictEqual(secretText(secret, "format"), "cloud-config")
      assert.include(B.dataText(secret), "v1.33.1+k0s.0")

      const parsed = parseCloudConfig(new TextEncoder().encode(B.dataText(secret)))
      assert.isTrue(Result.isSuccess(parsed))
      const files = Result.isSuccess(parsed) ? parsed.success.files : []
      const token = files.find((file) => file.path === "/etc/k0s.token")
      assert.strictEqual(token?.mode, "0600")
      const join = decodeJoinToken(new TextDecoder().decode(token?.content))
      assert.isTrue(Result.isSuccess(join))
      if (Result.isSuccess(join)) {
        assert.strictEqual(join.success.server, "https://127.0.0.1:6443")
        assert.strictEqual(join.success.ca, B.CA)
        const [minted, ...others] = yield* B.tokens(all)
        assert.deepStrictEqual(others, [])
        if (minted === undefined) return assert.fail("no token")
        assert.strictEqual(B.tokenText(minted), `${join.success.token.id}.${join.success.token.secret}`)
        assert.strictEqual(minted.metadata.name, `bootstrap-token-${join.success.token.id}`)
        assert.strictEqual(B.labelOf(minted), config.metadata.uid)
        assert.strictEqual(secretText(minted, "usage-bootstrap-api-worker-calls"), "true")
        assert.strictEqual(secretText(minted, "expiration"), "1970-01-02T00:00:00Z")
      }
      // Finalizer, token, Secret, one status: nothing is written that need not be.
      assert.strictEqual(process.writes(), 4)
      assert.include(yield* B.eventReasons(all), "DataSecretCreated")
    }).pipe(Effect.scoped)
  )

  it.effect("waits, saying for what, in the order in which Cluster API gets there", () =>
    Effect.gen(function* () {
      const all = yield* B.servers
      const { kube } = all
      yield* kube.create(K0sWorkerConfigs, {
        metadata: { ...ref(B.NAME), labels: { "cluster.x-k8s.io/cluster-name": "demo" } }
      })
      const process = yield* B.process(all)
      const waitsFor = (reason: string) =>
        B.eventually(
          reason,
          Effect.map(B.readyReason(all), (found) => found === reason)
        )
      yield* waitsFor("WaitingForOwnerMachine")
      const machine = yield* B.createMachine(kube)
      yield* kube.patch(K0sWorkerConfigs, ref(B.NAME), {
        metadata: { ownerReferences: [B.machineOwner(machine)] }
      })
      yield* waitsFor("WaitingForCluster")
      yield* kube.create(Clusters, { metadata: ref("demo"), spec: {} })
      yield* waitsFor("WaitingForControlPlaneEndpoint")
      yield* kube.patch(Clusters, ref("demo"), { spec: { controlPlaneEndpoint: { host: "10.0.0.9", port: 6443 } } })
      yield* waitsFor("WaitingForControlPlaneInitialized")
      yield* kube.patch(
        Clusters,
        ref("demo"),
        { status: { conditions: [{ type: "ControlPlaneInitialized", status: "True" }] } },
        { subresource: "status" }
      )
      yield* waitsFor("CertificateAuthorityNotFound")
      assert.isFalse(B.hasOurFinalizer(yield* B.configNow(all)))
      yield* B.createControlPlaneSecrets(kube)
      yield* B.eventually("ready", B.isReady(all))
      assert.deepStrictEqual(B.phases(process.states), ["Pending", "Claimed", "Provisioning", "Ready"])
    }).pipe(Effect.scoped)
  )

  it.effect(
    "renews the token in place while the Machine has not joined, and brings it back when it was collected",
    () =>
      Effect.gen(function* () {
        const all = yield* B.world
        yield* B.createWorker(all.kube)
        yield* B.process(all)
        yield* B.eventually("ready", B.isReady(all))
        const before = B.dataText(yield* B.dataSecret(all))
        const [first] = yield* B.tokens(all)
        if (first === undefined) return assert.fail("no token")
        yield* B.settle(20 * HOUR_MILLIS)
        const [renewed] = yield* B.tokens(all)
        assert.strictEqual(renewed?.metadata.uid, first.metadata.uid)
        assert.isAbove(
          Date.parse(secretText(renewed ?? first, "expiration") ?? ""),
          Date.parse(secretText(first, "expiration") ?? "") + 10 * HOUR_MILLIS
        )
        yield* all.workload.kubeClient.delete(Secrets, { namespace: "kube-system", name: first.metadata.name })
        yield* B.settle(2 * HOUR_MILLIS)
        const [again] = yield* B.tokens(all)
        assert.notStrictEqual(again?.metadata.uid, first.metadata.uid)
        assert.strictEqual(B.tokenText(again ?? first), B.tokenText(first))
        assert.strictEqual(B.dataText(yield* B.dataSecret(all)), before)
      }).pipe(Effect.scoped)
  )

  it.effect("revokes the token once the Machine has joined, keeps the Secret, and then nothing waits for it", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      const process = yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      yield* B.join(all.kube)
      yield* B.eventually(
        "no finalizer",
        Effect.map(B.configNow(all), (config) => !B.hasOurFinalizer(config))
      )
      assert.deepStrictEqual(yield* B.tokens(all), [])
      assert.isDefined(yield* B.dataSecret(all))
      assert.isTrue(yield* B.isReady(all))
      assert.include(yield* B.eventReasons(all), "TokenRevoked")
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      assert.isUndefined(yield* B.configNow(all))
      yield* B.eventually(
        "no actor",
        Effect.map(process.living, (keys) => keys.length === 0)
      )
    }).pipe(Effect.scoped)
  )

  it.effect("writes a deleted Secret again with the same bytes, until the Machine has joined", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube, { args: ["--debug"], postStartCommands: ["echo {{ nothing }}"] })
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const before = yield* B.dataSecret(all)
      yield* all.kube.delete(Secrets, ref(B.NAME))
      yield* B.eventually(
        "back",
        Effect.map(B.dataSecret(all), (secret) => secret !== undefined)
      )
      const after = yield* B.dataSecret(all)
      assert.notStrictEqual(after?.metadata.uid, before?.metadata.uid)
      assert.strictEqual(B.dataText(after), B.dataText(before))
      assert.strictEqual((yield* B.tokens(all)).length, 1)
      assert.include(yield* B.eventReasons(all), "DataSecretDeleted")
      // It never goes back for Cluster API (contract v1beta2), whatever the conditions say meanwhile.
      assert.strictEqual((yield* B.configNow(all))?.status?.initialization?.dataSecretCreated, true)

      yield* B.join(all.kube)
      yield* B.eventually(
        "joined",
        Effect.map(B.tokens(all), (left) => left.length === 0)
      )
      yield* all.kube.delete(Secrets, ref(B.NAME))
      yield* B.settle(120_000)
      assert.isUndefined(yield* B.dataSecret(all))
    }).pipe(Effect.scoped)
  )

  it.effect("writes its status again when someone empties it, and leaves foreign conditions alone", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const foreign = { type: "Foreign", status: "True", reason: "R", lastTransitionTime: "2026-01-01T00:00:00Z" }
      yield* all.kube.patch(
        K0sWorkerConfigs,
        ref(B.NAME),
        {
          status: {
            ready: null,
            dataSecretName: null,
            initialization: null,
            phase: null,
            conditions: [{ ...foreign, message: "" }]
          }
        },
        { subresource: "status" }
      )
      yield* B.eventually("ready again", B.isReady(all))
      const { status } = (yield* B.configNow(all)) ?? {}
      assert.strictEqual(status?.dataSecretName, B.NAME)
      assert.strictEqual(status?.initialization?.dataSecretCreated, true)
      assert.strictEqual(status?.conditions?.find((one) => one.type === "Foreign")?.reason, "R")
    }).pipe(Effect.scoped)
  )

  it.effect("merges custom user data as further parts, and still knows its token by them", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* all.kube.create(Secrets, {
        metadata: ref("mine"),
        data: { data: Buffer.from("#!/bin/sh\necho mine").toString("base64") }
      })
      yield* B.createWorker(all.kube, { customUserDataRef: { secretRef: { name: "mine", key: "data" } } })
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const secret = yield* B.dataSecret(all)
      assert.match(B.dataText(secret), /multipart\/mixed/)
      const [token] = yield* B.tokens(all)
      if (token === undefined) return assert.fail("no token")
      assert.strictEqual(B.carriedToken(secret), B.tokenText(token))
    }).pipe(Effect.scoped)
  )
})

describe("deletion", () => {
  it.effect("before anything was written: at once, without a trace", () =>
    Effect.gen(function* () {
      const all = yield* B.servers
      yield* B.createWorker(all.kube)
      const process = yield* B.process(all)
      yield* B.eventually(
        "waiting",
        Effect.map(B.readyReason(all), (reason) => reason === "WaitingForCluster")
      )
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      assert.isUndefined(yield* B.configNow(all))
      yield* B.eventually(
        "no actor",
        Effect.map(process.living, (keys) => keys.length === 0)
      )
      assert.deepStrictEqual(yield* B.tokens(all), [])
    }).pipe(Effect.scoped)
  )

  it.effect("when ready: token and Secret go, then the finalizer; owner and Cluster may be gone already", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      yield* all.kube.delete(Machines, ref(B.NAME))
      yield* all.kube.delete(Clusters, ref("demo"))
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME)).pipe(Effect.ignore)
      yield* B.eventually(
        "gone",
        Effect.map(B.configNow(all), (config) => config === undefined)
      )
      assert.deepStrictEqual(yield* B.tokens(all), [])
      assert.isUndefined(yield* B.dataSecret(all))
    }).pipe(Effect.scoped)
  )

  it.effect("a config of the same name afterwards gets a token and data of its own", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      const config = yield* B.createWorker(all.kube)
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const before = B.dataText(yield* B.dataSecret(all))
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.eventually(
        "gone",
        Effect.map(B.configNow(all), (found) => found === undefined)
      )
      const { labels, ownerReferences } = config.metadata
      yield* all.kube.create(K0sWorkerConfigs, {
        metadata: {
          ...ref(B.NAME),
          labels: { ...labels },
          ownerReferences: (ownerReferences ?? []).map((one) => ({ ...one }))
        },
        spec: { args: ["--new"] }
      })
      yield* B.eventually("ready again", B.isReady(all))
      const after = B.dataText(yield* B.dataSecret(all))
      assert.include(after, "--new")
      assert.notInclude(before, "--new")
      assert.strictEqual((yield* B.tokens(all)).length, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("lets go, saying so, when the workload cluster never answers", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      let down = false
      const wrapWorkload: NonNullable<B.ProcessOptions["wrapWorkload"]> = (kube) => ({
        ...kube,
        // Never answers: the bound is the actor's own.
        list: (kind, options) => Effect.suspend(() => (down ? Effect.never : kube.list(kind, options)))
      })
      yield* B.process(all, { wrapWorkload })
      yield* B.eventually("ready", B.isReady(all))
      down = true
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.eventually(
        "says why",
        Effect.map(B.readyReason(all), (reason) => reason === "WorkloadClusterUnreachable")
      )
      yield* B.eventually(
        "gone",
        Effect.map(B.configNow(all), (config) => config === undefined)
      )
      assert.include(yield* B.eventReasons(all), "TokenNotRevoked")
      assert.strictEqual((yield* B.tokens(all)).length, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("lets go at once when Cluster and kubeconfig are gone", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      const process = yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      yield* all.kube.delete(Clusters, ref("demo"))
      yield* all.kube.delete(Secrets, ref("demo-kubeconfig"))
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.settle(2_000)
      assert.isUndefined(yield* B.configNow(all))
      assert.include(yield* B.eventReasons(all), "TokenNotRevoked")
      assert.deepStrictEqual(B.phases(process.states).slice(-2), ["Cleaning", "Deleted"])
    }).pipe(Effect.scoped)
  )
})

describe("paused, moved, adopted", () => {
  it.effect("paused: nothing is written but the condition, deletion waits; then it goes on", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* all.kube.patch(Clusters, ref("demo"), { spec: { paused: true } })
      yield* B.createWorker(all.kube)
      const process = yield* B.process(all)
      yield* B.settle(5_000)
      const paused = yield* B.configNow(all)
      assert.strictEqual(B.conditionOf(paused, "Paused")?.status, "True")
      assert.isUndefined(B.conditionOf(paused, "Ready"))
      assert.isFalse(B.hasOurFinalizer(paused))
      assert.strictEqual(process.writes(), 1)
      yield* all.kube.patch(Clusters, ref("demo"), { spec: { paused: false } })
      yield* B.eventually("ready", B.isReady(all))
      yield* all.kube.patch(K0sWorkerConfigs, ref(B.NAME), {
        metadata: { annotations: { "cluster.x-k8s.io/paused": "" } }
      })
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.settle(60_000)
      assert.strictEqual((yield* B.tokens(all)).length, 1)
      yield* all.kube.patch(K0sWorkerConfigs, ref(B.NAME), {
        metadata: { annotations: { "cluster.x-k8s.io/paused": null } }
      })
      yield* B.eventually(
        "gone",
        Effect.map(B.configNow(all), (config) => config === undefined)
      )
      assert.deepStrictEqual(yield* B.tokens(all), [])
    }).pipe(Effect.scoped)
  )

  it.effect("delete-for-move: gone for us, the token stays for the cluster it was moved to", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      const process = yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const before = process.writes()
      yield* all.kube.patch(K0sWorkerConfigs, ref(B.NAME), {
        metadata: { annotations: { "clusterctl.cluster.x-k8s.io/delete-for-move": "" } }
      })
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.settle(60_000)
      assert.strictEqual((yield* B.tokens(all)).length, 1)
      assert.isDefined(yield* B.dataSecret(all))
      // The pause condition alone.
      assert.isAtMost(process.writes() - before, 1)
      yield* all.kube.patch(K0sWorkerConfigs, ref(B.NAME), { metadata: { finalizers: null } })
      yield* B.eventually(
        "no actor",
        Effect.map(process.living, (keys) => keys.length === 0)
      )
      assert.strictEqual((yield* B.tokens(all)).length, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("a moved config adopts its Secret and its token, and renders nothing", () =>
    Effect.gen(function* () {
      const source = yield* B.world
      yield* B.createWorker(source.kube)
      const old = yield* B.process(source)
      yield* B.eventually("ready", B.isReady(source))
      yield* old.crash
      const secret = yield* B.dataSecret(source)
      const [token] = yield* B.tokens(source)
      if (secret === undefined || token === undefined) return assert.fail("nothing to move")

      // Another management cluster, the same workload cluster; uids differ, status is lost, owners name the old uid.
      const target = { ...(yield* B.world), workload: source.workload }
      const config = yield* B.createWorker(target.kube, { args: ["--other"] })
      yield* target.kube.create(Secrets, {
        metadata: {
          ...ref(B.NAME),
          labels: { ...secret.metadata.labels },
          ownerReferences: (secret.metadata.ownerReferences ?? []).map((one) => ({ ...one }))
        },
        type: "cluster.x-k8s.io/secret",
        data: { ...secret.data }
      })
      const process = yield* B.process(target)
      yield* B.eventually("ready", B.isReady(target))
      const adopted = yield* B.dataSecret(target)
      assert.strictEqual(B.dataText(adopted), B.dataText(secret))
      assert.strictEqual(adopted?.metadata.ownerReferences?.[0]?.uid, config.metadata.uid)
      assert.strictEqual((yield* B.configNow(target))?.status?.dataSecretName, B.NAME)
      yield* B.eventually(
        "the token carries the new uid",
        Effect.map(B.tokens(target), ([found]) => found !== undefined && B.labelOf(found) === config.metadata.uid)
      )
      const kept = yield* B.tokens(target)
      assert.deepStrictEqual(kept.map(B.tokenText), [B.tokenText(token)])
      assert.include(yield* B.eventReasons(target), "DataSecretAdopted")
      assert.notInclude(B.phases(process.states), "Pending")
      yield* target.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.eventually(
        "gone",
        Effect.map(B.configNow(target), (found) => found === undefined)
      )
      assert.deepStrictEqual(yield* B.tokens(target), [])
    }).pipe(Effect.scoped)
  )

  it.effect("a Machine that had joined before we came needs nothing: ready, no finalizer, no token", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      yield* B.join(all.kube)
      const process = yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      assert.isFalse(B.hasOurFinalizer(yield* B.configNow(all)))
      assert.deepStrictEqual(yield* B.tokens(all), [])
      assert.strictEqual(process.writes(), 1)
    }).pipe(Effect.scoped)
  )
})

describe("the control plane's ways", () => {
  it.effect("K0smotronControlPlane in another cluster: certificates and access are read there", () =>
    Effect.gen(function* () {
      const all = yield* B.servers
      const { kube } = all
      yield* kube.create(Clusters, {
        metadata: ref("demo"),
        spec: {
          controlPlaneEndpoint: { host: "10.0.0.9", port: 6443 },
          controlPlaneRef: { apiGroup: "controlplane.cluster.x-k8s.io", kind: "K0smotronControlPlane", name: "cp" }
        }
      })
      yield* kube.patch(
        Clusters,
        ref("demo"),
        { status: { initialization: { controlPlaneInitialized: true } } },
        { subresource: "status" }
      )
      yield* B.createWorker(kube)
      yield* B.process(all)
      yield* B.eventually(
        "says so",
        Effect.map(B.readyReason(all), (reason) => reason === "ControlPlaneNotFound")
      )
      yield* all.management.apply({
        apiVersion: "controlplane.cluster.x-k8s.io/v1beta1",
        kind: "K0smotronControlPlane",
        metadata: ref("cp"),
        spec: { remoteHostCluster: { kubeconfigRef: { name: "hosting", namespace: "default", key: "value" } } }
      })
      yield* B.eventually(
        "says so",
        Effect.map(B.readyReason(all), (reason) => reason === "HostingKubeconfigNotFound")
      )
      yield* kube.create(Secrets, {
        metadata: ref("hosting"),
        data: { value: Buffer.from(B.HOSTING_KUBECONFIG).toString("base64") }
      })
      yield* B.eventually(
        "says so",
        Effect.map(B.readyReason(all), (reason) => reason === "CertificateAuthorityNotFound")
      )
      yield* B.createControlPlaneSecrets(all.hosting.kubeClient)
      yield* B.eventually("ready", B.isReady(all))
      assert.strictEqual((yield* B.tokens(all)).length, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("ingress: the server and the haproxy certificates", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      const { kube } = all
      yield* kube.patch(Clusters, ref("demo"), {
        spec: {
          controlPlaneRef: { apiGroup: "controlplane.cluster.x-k8s.io", kind: "K0smotronControlPlane", name: "cp" }
        }
      })
      yield* all.management.apply({
        apiVersion: "controlplane.cluster.x-k8s.io/v1beta1",
        kind: "K0smotronControlPlane",
        metadata: ref("cp"),
        spec: { ingress: { apiHost: "api.example.org", port: 8443 } }
      })
      yield* B.createWorker(kube)
      yield* B.process(all)
      yield* B.eventually(
        "says so",
        Effect.map(B.readyReason(all), (reason) => reason === "IngressCertificateNotFound")
      )
      yield* kube.create(Secrets, {
        metadata: ref("demo-ingress-haproxy"),
        data: { "tls.crt": Buffer.from("crt").toString("base64"), "tls.key": Buffer.from("key").toString("base64") }
      })
      yield* B.eventually("ready", B.isReady(all))
      const text = B.dataText(yield* B.dataSecret(all))
      assert.include(text, "/etc/haproxy/certs/server.pem")
      const parsed = parseCloudConfig(new TextEncoder().encode(text))
      const file = Result.isSuccess(parsed)
        ? parsed.success.files.find((one) => one.path === "/etc/k0s.token")
        : undefined
      const join = decodeJoinToken(new TextDecoder().decode(file?.content))
      assert.strictEqual(Result.isSuccess(join) ? join.success.server : "", "https://api.example.org:8443")
    }).pipe(Effect.scoped)
  )

  it.effect("an unreachable workload cluster is retried, and shown; one token when it comes back", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      let down = true
      const wrapWorkload: NonNullable<B.ProcessOptions["wrapWorkload"]> = (kube) => ({
        ...kube,
        list: (kind, options) =>
          Effect.suspend(() =>
            down
              ? Effect.fail(
                  new KubeError({ reason: "Unavailable", verb: "list", kind: "Secret", message: "connection refused" })
                )
              : kube.list(kind, options)
          )
      })
      yield* B.process(all, { wrapWorkload })
      yield* B.eventually(
        "says so",
        Effect.map(B.readyReason(all), (reason) => reason === "WorkloadClusterUnreachable")
      )
      yield* B.settle(300_000)
      assert.isFalse(yield* B.isReady(all))
      down = false
      yield* B.eventually("ready", B.isReady(all))
      assert.strictEqual((yield* B.tokens(all)).length, 1)
      // Told once, not once a retry.
      const said = (yield* B.eventReasons(all)).filter((reason) => reason === "WorkloadClusterUnreachable")
      assert.strictEqual(said.length, 1)
    }).pipe(Effect.scoped)
  )
})
