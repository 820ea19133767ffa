/**
 * Join tokens on a real kube-apiserver with bootstrap token authentication: what the bootstrap data carries is decoded as
 * k0s does, and opens the cluster for a kubelet and nobody else, until its machine has joined or is gone.
 */
import { request } from "node:https"
import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { Secrets, secretBytes, secretData } from "../../src/api/Core.ts"
import { K0sControllerConfigs, K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import { parseCloudConfig } from "../../src/domain/CloudConfig.ts"
import { decodeJoinToken, type JoinToken } from "../../src/domain/JoinToken.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { WorkloadClusters } from "../../src/kube/WorkloadClusters.ts"
import { ProviderOptions } from "../../src/provider/Options.ts"
import * as Provider from "../../src/provider/Provider.ts"
import { installCrds } from "../../src/simulation/core/ManagementCluster.ts"
import { Clusters, Machines } from "../../src/simulation/core/Raw.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import { type ApiServer, available, startWith } from "./apiserver/ApiServer.ts"

const namespace = "default"
const CLUSTER = "demo"
const labels = { "cluster.x-k8s.io/cluster-name": CLUSTER }
const at = (name: string) => ({ namespace, name })

/** Looks until it is so; bounded, and no measure of speed. */
const LOOKS = Schedule.max([Schedule.spaced("200 millis"), Schedule.recurs(600)])
const eventually = <A, E, R>(what: string, look: Effect.Effect<A | undefined, E, R>) =>
  look.pipe(
    Effect.flatMap((found) => (found === undefined ? Effect.fail(new Error(`never: ${what}`)) : Effect.succeed(found))),
    Effect.retry(LOOKS)
  )

/** Who the API server takes the bearer for; undefined: it lets nobody in with that. */
const whoIs = ({ ca, server, token }: JoinToken): Effect.Effect<string | undefined, Error> =>
  Effect.callback((resume) => {
    const body = JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" })
    const asked = request(
      new URL("/apis/authentication.k8s.io/v1/selfsubjectreviews", server),
      {
        ca,
        method: "POST",
        agent: false,
        headers: { authorization: `Bearer ${token.id}.${token.secret}`, "content-type": "application/json" }
      },
      (response) => {
        const parts: Array<Buffer> = []
        response.on("data", (part: Buffer) => parts.push(part))
        response.on("end", () => {
          const text = Buffer.concat(parts).toString("utf8")
          if (response.statusCode === 401) return resume(Effect.succeed(undefined))
          const { groups, username } = JSON.parse(text).status.userInfo
          return resume(Effect.succeed(`${username} of ${[...groups].sort().join()}`))
        })
      }
    )
    asked.on("error", (error) => resume(Effect.fail(error)))
    asked.end(body)
  })

/** One API server is management and workload cluster at once. */
const createCluster = Effect.fnUntraced(function* (kube: KubeClientShape, server: ApiServer) {
  const secret = (name: string, values: Record<string, string>) =>
    kube.create(Secrets, { metadata: { ...at(`${CLUSTER}-${name}`), labels }, data: secretData(values) })
  yield* secret("ca", { "tls.crt": server.caPem, "tls.key": "not asked for" })
  yield* secret("kubeconfig", { value: server.kubeconfig })
  const { hostname, port } = new URL(server.url)
  yield* kube.create(Clusters, {
    metadata: at(CLUSTER),
    spec: { controlPlaneEndpoint: { host: hostname, port: Number(port) } }
  })
  yield* kube.patch(
    Clusters,
    at(CLUSTER),
    { status: { initialization: { infrastructureProvisioned: true, controlPlaneInitialized: true } } },
    { subresource: "status" }
  )
})

const createMachine = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  kind: "K0sWorkerConfig" | "K0sControllerConfig",
  name: string,
  status: JsonObject
) {
  const controls = kind === "K0sControllerConfig" ? { "cluster.x-k8s.io/control-plane": "" } : {}
  const machine = yield* kube.create(Machines, {
    metadata: { ...at(name), labels: { ...labels, ...controls } },
    spec: {
      clusterName: CLUSTER,
      version: "v1.33.1",
      bootstrap: { configRef: { apiGroup: "bootstrap.cluster.x-k8s.io", kind, name } },
      infrastructureRef: { apiGroup: "infrastructure.cluster.x-k8s.io", kind: "AWSMachine", name }
    }
  })
  yield* kube.patch(Machines, at(name), { status }, { subresource: "status" })
  return {
    ...at(name),
    labels,
    ownerReferences: [
      {
        apiVersion: "cluster.x-k8s.io/v1beta2",
        kind: "Machine",
        name,
        uid: machine.metadata.uid ?? "",
        controller: true
      }
    ]
  }
})

const joinOf = (kube: KubeClientShape, name: string) =>
  eventually(
    `data of ${name}`,
    Effect.map(kube.get(Secrets, at(name)), (secret) => {
      const parsed = parseCloudConfig(secretBytes(secret, "value") ?? new Uint8Array())
      const files = Result.isSuccess(parsed) ? parsed.success.files : []
      const file = files.find(({ path }) => path === "/etc/k0s.token")
      return Result.getOrThrow(decodeJoinToken(Buffer.from(file?.content ?? []).toString("utf8")))
    })
  )

describe.skipIf(!available)("join tokens", () => {
  it.live(
    "let a kubelet in until it has joined; a controller's opens nothing by itself; none is left",
    () =>
      Effect.gen(function* () {
        const server = yield* startWith({ bootstrapTokens: true })
        const kube = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
        yield* installCrds(kube)
        for (const kind of [Clusters, Machines, K0sWorkerConfigs, K0sControllerConfigs])
          yield* kube.list(kind).pipe(Effect.retry(LOOKS))
        yield* createCluster(kube, server)
        const ports = Layer.mergeAll(
          Layer.succeed(KubeClient, kube),
          LiveHostRuns.layer.pipe(Layer.provide(LiveSshClient.layer())),
          WorkloadClusters.layer,
          SecureRandom.layerWebCrypto
        )
        yield* Provider.start().pipe(
          Effect.andThen(Effect.never),
          Effect.provide(ports),
          Effect.provideService(ProviderOptions, {
            namespace,
            watchFilter: undefined,
            tokenTtlSeconds: 3_600,
            halves: ["bootstrap"]
          }),
          Effect.scoped,
          Effect.forkScoped
        )

        const worker = yield* createMachine(kube, "K0sWorkerConfig", "w-0", {})
        yield* kube.create(K0sWorkerConfigs, { metadata: worker, spec: {} })
        const join = yield* joinOf(kube, "w-0")
        assert.strictEqual(join.server, server.url)
        const kubelet = yield* whoIs(join)
        assert.strictEqual(kubelet, `system:bootstrap:${join.token.id} of system:authenticated,system:bootstrappers`)
        const wrong = { ...join, token: { ...join.token, secret: "0".repeat(16) } }
        assert.isUndefined(yield* whoIs(wrong))

        // The first controller runs elsewhere; its address is not the point here.
        yield* createMachine(kube, "K0sControllerConfig", "c-0", {
          addresses: [{ type: "ExternalIP", address: "192.0.2.1" }],
          initialization: { infrastructureProvisioned: true }
        })
        const second = yield* createMachine(kube, "K0sControllerConfig", "c-1", {})
        yield* kube.create(K0sControllerConfigs, { metadata: second, spec: { version: "v1.33.1+k0s.0" } })
        const controller = yield* joinOf(kube, "c-1")
        assert.strictEqual(controller.server, "https://192.0.2.1:9443")
        assert.strictEqual(controller.user, "controller-bootstrap")
        assert.isUndefined(yield* whoIs({ ...controller, server: server.url }))

        yield* kube.patch(Machines, at("w-0"), { status: { nodeRef: { name: "w-0" } } }, { subresource: "status" })
        yield* eventually(
          "the token that nobody needs any more opens nothing",
          Effect.map(whoIs(join), (who) => (who === undefined ? true : undefined))
        )
        yield* kube.delete(K0sControllerConfigs, at("c-1"))
        yield* eventually(
          "no token is left",
          Effect.map(kube.list(Secrets, { namespace: "kube-system" }), ({ items }) =>
            items.some(({ type }) => type === "bootstrap.kubernetes.io/token") ? undefined : true
          )
        )
      }).pipe(Effect.scoped),
    300_000
  )
})
