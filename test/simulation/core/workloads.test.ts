/**
 * Holds: a Node appears only when a host's stand-in k0s shows a join token that the workload cluster has, for this use,
 * and not expired; and the way into a simulated workload cluster is the contents of its kubeconfig Secret.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { type Node, Nodes, Secrets } from "../../../src/api/Core.ts"
import { ControlNodes } from "../../../src/api/K0s.ts"
import {
  type BootstrapToken,
  controllerTokenSecret,
  encodeJoinToken,
  type JoinToken,
  TOKEN_NAMESPACE,
  tokenSecretName,
  workerTokenSecret
} from "../../../src/domain/JoinToken.ts"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import { WorkloadClusters } from "../../../src/kube/WorkloadClusters.ts"
import type { WorkloadServer } from "../../../src/simulation/core/K0sAdmission.ts"
import { accessIn, kubeconfigText } from "../../../src/simulation/core/KubeconfigSecret.ts"
import * as SimulatedWorkloads from "../../../src/simulation/core/SimulatedWorkloads.ts"
import type { K0sStart } from "../../../src/simulation/hosts/K0s.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"

const CLUSTER = { namespace: "default", name: "demo" }
const ACCESS = { server: "https://127.0.0.1:30443", ca: "the CA\n", token: "admin-token" }
const TOKEN: BootstrapToken = { id: "abcdef", secret: "0123456789abcdef" }
const HOUR_MILLIS = 3_600_000

const joinToken = (more: Partial<JoinToken> = {}): string =>
  encodeJoinToken({ server: ACCESS.server, ca: ACCESS.ca, user: "kubelet-bootstrap", token: TOKEN, ...more })

const start = (more: Partial<K0sStart> = {}): K0sStart => ({
  host: "h1",
  role: "worker",
  token: joinToken(),
  authority: undefined,
  arguments:
    "worker --token-file /etc/k0s.token --labels=k0smotron.io/machine-name=m1,rack=r7 --kubelet-extra-args=--hostname-override=m1",
  claim: "c1",
  ...more
})

const world = Effect.gen(function* () {
  const workloads = yield* SimulatedWorkloads.make()
  const server = yield* workloads.open(CLUSTER, ACCESS)
  const { data, metadata, type } = workerTokenSecret(TOKEN, HOUR_MILLIS, "default/m1")
  yield* server.kubeClient.create(Secrets, { metadata, type, data })
  const nodes = Effect.map(server.kubeClient.list(Nodes), ({ items }) => items)
  const change = (patch: JsonObject) =>
    server.kubeClient.patch(Secrets, { namespace: TOKEN_NAMESPACE, name: tokenSecretName(TOKEN.id) }, patch)
  return { workloads, kube: server.kubeClient, nodes, change }
})

const readiness = (node: Node | undefined) => node?.status?.conditions?.find(({ type }) => type === "Ready")?.status
const base64 = (text: string) => Buffer.from(text).toString("base64")

describe("who is let in", () => {
  it.effect("a worker with its token: its Node has the name and labels it was installed with, and is Ready", () =>
    Effect.gen(function* () {
      const { nodes, workloads } = yield* world
      assert.isTrue(yield* workloads.k0s.started(start()))
      const [node] = yield* nodes
      assert.strictEqual(node?.metadata.name, "m1")
      assert.include(node?.metadata.labels, {
        "k0smotron.io/machine-name": "m1",
        rack: "r7",
        "kubernetes.io/hostname": "m1"
      })
      assert.strictEqual(readiness(node), "True")
      assert.isUndefined(node?.spec?.providerID)
      yield* workloads.k0s.stopped("h1")
      assert.strictEqual(readiness((yield* nodes)[0]), "Unknown")
      // As after k0s reset and another run with the same token.
      assert.isTrue(yield* workloads.k0s.started(start()))
      assert.deepStrictEqual((yield* nodes).map(readiness), ["True"])
    })
  )

  const refusals: ReadonlyArray<readonly [string, Partial<K0sStart>, JsonObject | undefined, RegExp]> = [
    ["without a token file", { token: undefined }, undefined, /no token file/],
    ["with garbage", { token: "garbage" }, undefined, /not a k0s join token/],
    ["with another cluster's CA", { token: joinToken({ ca: "another" }) }, undefined, /certificate authority/],
    [
      "with an unknown token",
      { token: joinToken({ token: { ...TOKEN, id: "zzzzzz" } }) },
      undefined,
      /no token zzzzzz/
    ],
    [
      "with another secret",
      { token: joinToken({ token: { ...TOKEN, secret: "f".repeat(16) } }) },
      undefined,
      /another one/
    ],
    [
      "with a token not for this use",
      {},
      { data: { "usage-bootstrap-authentication": base64("false") } },
      /usage-bootstrap-authentication/
    ],
    [
      "with a token for controllers",
      { token: joinToken({ user: "controller-bootstrap" }) },
      undefined,
      /usage-controller-join/
    ],
    ["with a Secret that has expired", {}, { data: { expiration: base64("1970-01-01T00:00:00Z") } }, /expired/],
    ["with an expiration nobody can read", {}, { data: { expiration: base64("soon") } }, /expired/]
  ]
  for (const [title, input, patch, why] of refusals) {
    it.effect(`nobody ${title}`, () =>
      Effect.gen(function* () {
        const { change, nodes, workloads } = yield* world
        if (patch !== undefined) yield* change(patch)
        assert.isFalse(yield* workloads.k0s.started(start(input)))
        assert.deepStrictEqual(yield* nodes, [])
        assert.match(
          workloads
            .refusals()
            .map((one) => one.why)
            .join(),
          why
        )
      })
    )
  }

  it.effect("nobody with a token that was good an hour ago", () =>
    Effect.gen(function* () {
      const { nodes, workloads } = yield* world
      yield* TestClock.adjust(HOUR_MILLIS)
      assert.isFalse(yield* workloads.k0s.started(start()))
      assert.deepStrictEqual(yield* nodes, [])
    })
  )

  it.effect("a controller with its own kind of token; it is no Node unless it asks", () =>
    Effect.gen(function* () {
      const { kube, nodes, workloads } = yield* world
      const token = { id: "ctrl00", secret: "0123456789abcdef" }
      const { data, metadata, type } = controllerTokenSecret(token, HOUR_MILLIS, "default/c1")
      yield* kube.create(Secrets, { metadata, type, data })
      const controller = start({
        host: "c1",
        role: "controller",
        token: joinToken({ user: "controller-bootstrap", token, server: "https://127.0.0.1:9443" }),
        arguments: "controller --env AUTOPILOT_HOSTNAME=machine-1 --config /etc/k0s.yaml"
      })
      assert.isTrue(yield* workloads.k0s.started(controller))
      assert.deepStrictEqual(yield* nodes, [])
      assert.deepStrictEqual(workloads.members(CLUSTER), [{ name: "machine-1", host: "c1", running: true }])
      assert.isTrue(yield* workloads.k0s.started({ ...controller, arguments: "controller --enable-worker" }))
      assert.deepStrictEqual(
        (yield* nodes).map((node) => node.metadata.name),
        ["c1"]
      )
    })
  )

  it.effect(
    "a cluster on machines: answers while a controller runs, has one etcd, and remembers who did not leave",
    () =>
      Effect.gen(function* () {
        const workloads = yield* SimulatedWorkloads.make()
        const server = yield* workloads.open(CLUSTER, ACCESS, "machines")
        const controlNodes = Effect.map(server.kubeClient.list(ControlNodes), ({ items }) =>
          items.map(({ metadata }) => metadata.name)
        )
        const first = (host: string, authority?: string) =>
          start({
            host,
            role: "controller",
            token: undefined,
            authority: authority ?? ACCESS.ca,
            arguments: `controller --env AUTOPILOT_HOSTNAME=${host}`
          })
        assert.isFalse(workloads.isUp(CLUSTER))
        assert.isFalse(yield* workloads.k0s.started(first("a", "another authority")))
        assert.isFalse(yield* workloads.k0s.started({ ...first("a"), authority: undefined }))
        assert.isTrue(yield* workloads.k0s.started(first("a")))
        assert.isTrue(workloads.isUp(CLUSTER))
        assert.deepStrictEqual(yield* controlNodes, ["a"])
        assert.isFalse(yield* workloads.k0s.started(first("b")))
        assert.match(workloads.refusals().at(-1)?.why ?? "", /second etcd beside that of a/)
        yield* workloads.k0s.stopped("a")
        assert.isFalse(workloads.isUp(CLUSTER))
        assert.deepStrictEqual(workloads.members(CLUSTER), [{ name: "a", host: "a", running: false }])
        assert.isTrue(yield* workloads.k0s.started(first("a")))
        assert.isTrue(yield* workloads.k0s.left("a"))
        assert.isFalse(yield* workloads.k0s.left("a"))
        assert.deepStrictEqual(workloads.members(CLUSTER), [])
        assert.deepStrictEqual(yield* controlNodes, [])
      })
  )

  it.effect("a worker of one of two clusters at the same address: their CAs tell them apart", () =>
    Effect.gen(function* () {
      const { nodes, workloads } = yield* world
      const other = { namespace: "other", name: "demo" }
      const server = yield* workloads.open(other, { ...ACCESS, ca: "other CA", token: "other-token" })
      const { data, metadata, type } = workerTokenSecret(TOKEN, HOUR_MILLIS, "other/m1")
      yield* server.kubeClient.create(Secrets, { metadata, type, data })
      assert.isTrue(yield* workloads.k0s.started(start({ token: joinToken({ ca: "other CA" }) })))
      assert.deepStrictEqual(yield* nodes, [])
      assert.lengthOf((yield* server.kubeClient.list(Nodes)).items, 1)
    })
  )
})

describe("API servers of another kind", () => {
  it.effect("are asked for nothing before they are served, let in whom others do, and go with their cluster", () =>
    Effect.gen(function* () {
      const story: Array<string> = []
      const tell = (line: string) => Effect.sync(() => void story.push(line))
      const memory = yield* SimulatedApiServer.make()
      yield* memory.registerKind(ControlNodes)
      const workloads = yield* SimulatedWorkloads.over<WorkloadServer>({
        front: undefined,
        controllers: "hosted",
        make: () =>
          Effect.succeed({
            get kubeClient() {
              story.push("asked")
              return memory.kubeClient
            },
            client: () => memory.kubeClient
          }),
        serve: (_, { server }) => Effect.acquireRelease(tell(`served at ${server}`), () => tell("closed")),
        clusters: () => WorkloadClusters.layer
      })
      yield* workloads.open(CLUSTER, ACCESS)
      const { data, metadata, type } = workerTokenSecret(TOKEN, HOUR_MILLIS, "default/m1")
      yield* memory.kubeClient.create(Secrets, { metadata, type, data })
      assert.isTrue(yield* workloads.k0s.started(start()))
      assert.lengthOf((yield* memory.kubeClient.list(Nodes)).items, 1)
      yield* workloads.close(CLUSTER)
      assert.deepStrictEqual([...new Set(story)], [`served at ${ACCESS.server}`, "asked", "closed"])
    })
  )
})

describe("the way in", () => {
  const client = (workloads: SimulatedWorkloads.SimulatedWorkloads, kubeconfig: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const clusters = yield* WorkloadClusters
        const kube = yield* clusters.client(CLUSTER, kubeconfig)
        return (yield* kube.list(Secrets, { namespace: TOKEN_NAMESPACE })).items.length
      }).pipe(Effect.provide(workloads.clusters))
    )

  it.effect("is the kubeconfig, and says why when it is not one, or leads nowhere yet", () =>
    Effect.gen(function* () {
      const { workloads } = yield* world
      const kubeconfig = kubeconfigText("demo", ACCESS)
      assert.deepStrictEqual(accessIn(kubeconfig), ACCESS)
      assert.strictEqual(yield* client(workloads, kubeconfig), 1)
      assert.strictEqual((yield* Effect.flip(client(workloads, "no kubeconfig"))).reason, "BadRequest")
      const stranger = kubeconfigText("demo", { ...ACCESS, token: "stranger" })
      const error = yield* Effect.flip(client(workloads, stranger))
      assert.strictEqual(error.reason, "Unavailable")
      assert.notInclude(error.message, "stranger")
      yield* workloads.close(CLUSTER)
      assert.isUndefined(workloads.server(CLUSTER))
      assert.strictEqual((yield* Effect.flip(client(workloads, kubeconfig))).reason, "Unavailable")
    })
  )
})
