/**
 * Holds the life of a K0sControllerConfig (CONTRACT section 3): the first controller with its certificates, the others
 * with a token and where they join, how each is seen to have joined, and what is refused or waited for.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { Clusters, Machines } from "../../src/api/ClusterApi.ts"
import { Secrets, secretData, secretText } from "../../src/api/Core.ts"
import { ControlNodes } from "../../src/api/K0s.ts"
import { type K0sControllerConfig, K0sControllerConfigs } from "../../src/api/K0sConfigs.ts"
import { parseCloudConfig } from "../../src/domain/CloudConfig.ts"
import { decodeJoinToken } from "../../src/domain/JoinToken.ts"
import type { JsonObject } from "../../src/kube/KubeClient.ts"
import * as B from "../support/bootstrap.ts"
import { CLUSTER, ref } from "../support/cluster.ts"

const HOUR_MILLIS = 3_600_000
const FIRST = "c-0"
const SECOND = "c-1"

/** A control-plane Machine and its config, as K0sControlPlane and core leave them. */
const createController = Effect.fnUntraced(function* (
  all: B.World,
  name: string,
  spec: JsonObject = {},
  annotations: JsonObject = {}
) {
  const machine = yield* all.kube.create(Machines, {
    metadata: {
      ...ref(name),
      labels: { "cluster.x-k8s.io/cluster-name": CLUSTER, "cluster.x-k8s.io/control-plane": "" }
    },
    spec: { clusterName: CLUSTER, version: "v1.33.1" }
  })
  yield* all.kube.create(K0sControllerConfigs, {
    metadata: {
      ...ref(name),
      labels: { "cluster.x-k8s.io/cluster-name": CLUSTER },
      annotations,
      ownerReferences: [B.machineOwner(machine)]
    },
    spec: { version: "v1.33.1+k0s.0", ...spec }
  })
})

const CERTIFICATES = ["sa", "proxy", "etcd"] as const
const createCertificates = (all: B.World) =>
  Effect.forEach(CERTIFICATES, (purpose) =>
    all.kube.create(Secrets, {
      metadata: ref(`${CLUSTER}-${purpose}`),
      data: secretData({ "tls.crt": `${purpose} certificate\n`, "tls.key": `${purpose} key\n` })
    })
  )

/** Before its first controller runs a Cluster is not initialized. */
const newWorld = Effect.gen(function* () {
  const all = yield* B.world
  yield* createCertificates(all)
  yield* setInitialized(all, "False")
  return all
})
const setInitialized = (all: B.World, status: "True" | "False") =>
  all.kube.patch(
    Clusters,
    ref(CLUSTER),
    {
      status: {
        initialization: { controlPlaneInitialized: status === "True" },
        conditions: [{ type: "ControlPlaneInitialized", status }]
      }
    },
    { subresource: "status" }
  )

const provisioned = (all: B.World, name: string, address: string) =>
  all.kube.patch(
    Machines,
    ref(name),
    {
      status: {
        addresses: [{ type: "ExternalIP", address }],
        infrastructureReady: true,
        initialization: { infrastructureProvisioned: true }
      }
    },
    { subresource: "status" }
  )

const config = (all: B.World, name: string): Effect.Effect<K0sControllerConfig | undefined> =>
  all.kube.get(K0sControllerConfigs, ref(name)).pipe(Effect.catch(() => Effect.succeed(undefined)))
const readyIs = (all: B.World, name: string, reason: string) =>
  B.eventually(
    `${name} ${reason}`,
    Effect.map(config(all, name), (one) =>
      Boolean(one?.status?.conditions?.some((found) => found.type === "Ready" && found.reason === reason))
    )
  )
const isReady = (all: B.World, name: string) => readyIs(all, name, "DataSecretCreated")

const filesOf = Effect.fnUntraced(function* (all: B.World, name: string) {
  const text = B.dataText(yield* B.dataSecret(all, name))
  const parsed = parseCloudConfig(new TextEncoder().encode(text))
  const files = Result.isSuccess(parsed) ? parsed.success.files : assert.fail("data can't be read")
  return new Map(files.map(({ content, path }) => [path, new TextDecoder().decode(content)]))
})
const joinOf = Effect.fnUntraced(function* (all: B.World, name: string) {
  const token = (yield* filesOf(all, name)).get("/etc/k0s.token") ?? assert.fail("no token")
  return Result.getOrThrow(decodeJoinToken(token))
})

const twoControllers = Effect.fnUntraced(function* (options: B.ProcessOptions = {}, spec: JsonObject = {}) {
  const all = yield* newWorld
  yield* createController(all, FIRST)
  yield* createController(all, SECOND, spec)
  const process = yield* B.process(all, options)
  yield* isReady(all, FIRST)
  yield* readyIs(all, SECOND, "WaitingForFirstController")
  yield* provisioned(all, FIRST, "10.0.0.1")
  yield* readyIs(all, SECOND, "WaitingForControlPlaneInitialized")
  yield* setInitialized(all, "True")
  yield* isReady(all, SECOND)
  return { all, process }
})

const controlNode = (all: B.World, name: string) => all.workload.kubeClient.create(ControlNodes, { metadata: { name } })

describe("the first controller", () => {
  it.effect("brings the certificates of its cluster, before anything runs, and no token", () =>
    Effect.gen(function* () {
      const all = yield* newWorld
      yield* createController(all, FIRST, { k0s: { kind: "ClusterConfig", spec: { api: { sans: ["a"] } } } })
      const silent: B.ProcessOptions["wrapWorkload"] = (kube) => ({ ...kube, list: () => Effect.never })
      yield* B.process(all, { wrapWorkload: silent })
      yield* isReady(all, FIRST)
      const files = yield* filesOf(all, FIRST)
      assert.strictEqual(files.get("/var/lib/k0s/pki/ca.crt"), B.CA)
      assert.strictEqual(files.get("/var/lib/k0s/pki/ca.key"), "key")
      assert.strictEqual(files.get("/var/lib/k0s/pki/sa.pub"), "sa certificate\n")
      assert.strictEqual(files.get("/var/lib/k0s/pki/front-proxy-ca.key"), "proxy key\n")
      assert.strictEqual(files.get("/var/lib/k0s/pki/etcd/ca.crt"), "etcd certificate\n")
      assert.include(files.get("/etc/k0s.yaml") ?? "", "ClusterConfig")
      assert.isFalse(files.has("/etc/k0s.token"))
      assert.deepStrictEqual(yield* B.tokens(all), [])
      const stored = yield* config(all, FIRST)
      assert.strictEqual(stored?.status?.dataSecretName, FIRST)
      assert.strictEqual(stored?.status?.ready, true)
      // Deleted before its API server ever answered: nobody has to be asked for a token that never was.
      yield* all.kube.delete(K0sControllerConfigs, ref(FIRST))
      yield* B.settle(2_000)
      assert.isUndefined(yield* config(all, FIRST))
    }).pipe(Effect.scoped)
  )

  for (const missing of ["ca", ...CERTIFICATES]) {
    it.effect(`waits for Secret ${CLUSTER}-${missing}, and goes on when it is there`, () =>
      Effect.gen(function* () {
        const all = yield* newWorld
        const name = `${CLUSTER}-${missing}`
        const { data } = yield* all.kube.get(Secrets, ref(name))
        yield* all.kube.delete(Secrets, ref(name))
        yield* createController(all, FIRST)
        yield* B.process(all)
        yield* B.eventually(
          "says so",
          Effect.map(config(all, FIRST), (one) =>
            Boolean(
              one?.status?.conditions?.some(
                ({ message, reason }) => /NotFound$/.test(reason) && message?.includes(`/${name} `) === true
              )
            )
          )
        )
        yield* all.kube.create(Secrets, { metadata: ref(name), data: data ?? {} })
        yield* isReady(all, FIRST)
      }).pipe(Effect.scoped)
    )
  }
})

describe("a controller that joins", () => {
  it.effect("waits for the first, then gets a controller's token for the first one's address", () =>
    Effect.gen(function* () {
      const { all } = yield* twoControllers()
      const join = yield* joinOf(all, SECOND)
      assert.strictEqual(join.user, "controller-bootstrap")
      assert.strictEqual(join.server, "https://10.0.0.1:9443")
      assert.strictEqual(join.ca, B.CA)
      const [token, ...others] = yield* B.tokens(all)
      assert.deepStrictEqual(others, [])
      if (token === undefined) return assert.fail("no token")
      assert.strictEqual(B.tokenText(token), `${join.token.id}.${join.token.secret}`)
      const usages = ["usage-bootstrap-api-auth", "usage-controller-join", "usage-bootstrap-authentication"]
      assert.deepStrictEqual(
        [...usages, "usage-bootstrap-signing"].map((usage) => secretText(token, usage)),
        ["true", "true", "false", "false"]
      )
      assert.include(secretText(token, "description") ?? "", `Machine default/${SECOND}`)
      assert.isFalse((yield* filesOf(all, SECOND)).has("/var/lib/k0s/pki/ca.key"))
    }).pipe(Effect.scoped)
  )

  it.effect("where the endpoint answers for controllers, it joins there", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const answers = (url: string) => {
        asked.push(url)
        return true
      }
      const { all } = yield* twoControllers({ answers }, { k0s: { spec: { api: { k0sApiPort: 9999 } } } })
      assert.strictEqual((yield* joinOf(all, SECOND)).server, "https://127.0.0.1:9999")
      assert.deepStrictEqual([...new Set(asked)], ["https://127.0.0.1:9999/v1beta1/ca"])
    }).pipe(Effect.scoped)
  )

  it.effect("its token is renewed until k0s shows it among its controllers, then revoked for good", () =>
    Effect.gen(function* () {
      const { all, process } = yield* twoControllers()
      yield* B.settle(30 * HOUR_MILLIS)
      const [token] = yield* B.tokens(all)
      assert.isAbove(Date.parse(secretText(token ?? assert.fail(), "expiration") ?? ""), 30 * HOUR_MILLIS)
      yield* controlNode(all, SECOND)
      yield* B.eventually(
        "revoked",
        Effect.map(B.tokens(all), (left) => left.length === 0)
      )
      yield* B.eventually(
        "let go",
        Effect.map(config(all, SECOND), (one) => (one?.metadata.finalizers ?? []).length === 0)
      )
      assert.strictEqual((yield* config(all, SECOND))?.metadata.annotations?.["machinist.dev/joined"], "true")
      assert.include(yield* B.eventReasons(all), "TokenRevoked")
      // The next leader finds it so, and mints none, not even for a moment.
      yield* process.crash
      const creates: Array<string> = []
      yield* B.process(all, {
        wrapWorkload: (kube) => ({
          ...kube,
          create: (kind, object) => {
            creates.push(kind.kind)
            return kube.create(kind, object)
          }
        })
      })
      yield* B.settle(2 * HOUR_MILLIS)
      assert.deepStrictEqual(creates, [])
      assert.deepStrictEqual(yield* B.tokens(all), [])
    }).pipe(Effect.scoped)
  )

  it.effect("a ControlNode of an earlier machine of its name says nothing", () =>
    Effect.gen(function* () {
      const all = yield* newWorld
      yield* controlNode(all, SECOND)
      yield* B.settle(HOUR_MILLIS)
      yield* createController(all, FIRST)
      yield* provisioned(all, FIRST, "10.0.0.1")
      yield* setInitialized(all, "True")
      yield* B.settle(2_000)
      yield* createController(all, SECOND)
      yield* B.process(all)
      yield* isReady(all, SECOND)
      yield* B.settle(HOUR_MILLIS)
      assert.strictEqual((yield* B.tokens(all)).length, 1)
      assert.notProperty((yield* config(all, SECOND))?.metadata.annotations ?? {}, "machinist.dev/joined")
    }).pipe(Effect.scoped)
  )

  it.effect("when the first is gone and another runs, the Secret that comes back still joins", () =>
    Effect.gen(function* () {
      const { all } = yield* twoControllers()
      yield* createController(all, "c-2")
      yield* isReady(all, "c-2")
      yield* provisioned(all, SECOND, "10.0.0.2")
      yield* all.kube.delete(Machines, ref(FIRST))
      yield* all.kube.delete(Secrets, ref("c-2"))
      yield* B.eventually(
        "back",
        Effect.map(B.dataSecret(all, "c-2"), (secret) => secret !== undefined)
      )
      assert.strictEqual((yield* joinOf(all, "c-2")).server, "https://10.0.0.2:9443")
    }).pipe(Effect.scoped)
  )
})

describe("what is refused", () => {
  it.effect("a tunnel: says why and what to do instead; without it the config goes on", () =>
    Effect.gen(function* () {
      const all = yield* newWorld
      yield* createController(all, FIRST, { tunneling: { enabled: true, serverAddress: "1.2.3.4" } })
      yield* B.process(all)
      yield* readyIs(all, FIRST, "TunnelingNotSupported")
      assert.isUndefined(yield* B.dataSecret(all, FIRST))
      yield* all.kube.patch(K0sControllerConfigs, ref(FIRST), { spec: { tunneling: { enabled: false } } })
      yield* isReady(all, FIRST)
    }).pipe(Effect.scoped)
  )
  it.effect("a lifetime of tokens that is none, and a MachinePool as owner", () =>
    Effect.gen(function* () {
      const all = yield* newWorld
      yield* createController(all, FIRST, {}, { "machinist.dev/token-ttl": "soon" })
      yield* all.kube.create(K0sControllerConfigs, {
        metadata: {
          ...ref("pool"),
          ownerReferences: [yield* B.createPool(all.kube)]
        },
        spec: { version: "v1.33.1+k0s.0" }
      })
      yield* B.process(all)
      yield* readyIs(all, FIRST, "InvalidConfig")
      yield* readyIs(all, "pool", "InvalidConfig")
      yield* all.kube.patch(K0sControllerConfigs, ref(FIRST), {
        metadata: { annotations: { "machinist.dev/token-ttl": "1h30m" } }
      })
      yield* isReady(all, FIRST)
    }).pipe(Effect.scoped)
  )
})
