/** Holds: every shape of the documented YAML decodes, and an odd but stored object never becomes invisible to us. */
import * as fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Yaml from "yaml"
import { Clusters, MachineDeployments, MachineSets, Machines } from "../../src/api/ClusterApi.ts"
import {
  hostingKubeconfig,
  ingressEndpoint,
  K0sControlPlanes,
  K0smotronControlPlanes
} from "../../src/api/ControlPlanes.ts"
import {
  ConfigMaps,
  configMapBytes,
  Events,
  Leases,
  Namespaces,
  Nodes,
  Secrets,
  secretBytes,
  secretData,
  secretText
} from "../../src/api/Core.ts"
import { K0sControllerConfigs, K0sWorkerConfigs, K0sWorkerConfigTemplates } from "../../src/api/K0sConfigs.ts"
import type { Kind, KubeObject } from "../../src/api/Kind.ts"
import { BOOTSTRAP_SENTINEL } from "../../src/api/Names.ts"
import { ourKinds } from "../../src/api/OurKinds.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { RemoteClusters } from "../../src/api/RemoteCluster.ts"
import { RemoteMachines, RemoteMachineTemplates } from "../../src/api/RemoteMachine.ts"
import { SENTINEL } from "../../src/hosts/Protocol.ts"

const kinds: ReadonlyArray<Kind<KubeObject>> = [
  ...ourKinds,
  Clusters,
  Machines,
  MachineSets,
  MachineDeployments,
  K0smotronControlPlanes,
  K0sControlPlanes
]

const decode = <A extends KubeObject>(kind: Kind<A>, input: unknown): A => Schema.decodeUnknownSync(kind.schema)(input)
const refuses = <A extends KubeObject>(kind: Kind<A>, input: unknown): boolean =>
  Exit.isFailure(Schema.decodeUnknownExit(kind.schema)(input))

const examples = ["bootstrap.yaml", "remote-machines.yaml"].flatMap((file) => {
  const text = fs.readFileSync(new URL(`examples/${file}`, import.meta.url), "utf8")
  return Yaml.parseAllDocuments(text).map((document, index) => {
    const object: Readonly<Record<string, unknown>> = document.toJS()
    return { name: `${file} #${index}`, object }
  })
})

/** `expected` within `actual`: a decoder drops what it does not know, and must change nothing that it does. */
const kept = (actual: unknown, given: unknown): boolean => {
  if (typeof actual !== "object" || actual === null) return actual === given
  if (typeof given !== "object" || given === null) return false
  const other: Record<string, unknown> = { ...given }
  return Object.entries(actual).every(([key, value]) => kept(value, other[key]))
}

describe("the documented examples", () => {
  it.each(examples)("$name", ({ object }) => {
    const kind = kinds.find(({ kind }) => kind === object["kind"])
    assert.isDefined(kind)
    if (kind === undefined) return
    assert.isTrue(kept(decode(kind, object), object))
  })

  it("keep every field of our kinds", () => {
    const machine = examples.find(({ object }) => JSON.stringify(object).includes("customCleanUpCommands"))
    const decoded = decode(RemoteMachines, machine?.object)
    assert.deepStrictEqual(decoded, machine?.object)
    const config = examples.find(({ object }) => JSON.stringify(object).includes('custom-cleanup-script.sh","content'))
    assert.deepStrictEqual<unknown>(decode(K0sWorkerConfigs, config?.object), config?.object)
  })
})

const metadata = { name: "x", namespace: "default" }

describe("what a server may send", () => {
  it("a null means absent, also in nested places", () => {
    assert.deepStrictEqual(decode(RemoteClusters, { metadata, spec: null }), { metadata })
    const machine = decode(RemoteMachines, {
      metadata: { ...metadata, creationTimestamp: null, labels: null },
      spec: { address: "a", sshKeyRef: null, customCleanUpCommands: null },
      status: null
    })
    assert.deepStrictEqual(machine, { metadata, spec: { address: "a" } })
  })

  it("unknown fields are dropped, metadata's too", () => {
    const object = {
      metadata: { ...metadata, managedFields: [{}], selfLink: "" },
      spec: { pool: "p", later: 1 },
      more: 1
    }
    assert.deepStrictEqual(decode(RemoteMachines, object), { metadata, spec: { pool: "p" } })
  })

  it("a k0s configuration is kept as it is, nulls included", () => {
    const k0s = { spec: { a: null, b: [{ c: 1 }] }, kind: "ClusterConfig" }
    const config = decode(K0sControllerConfigs, { metadata, spec: { version: "v1", k0s } })
    assert.deepStrictEqual(config.spec.k0s, k0s)
  })

  it("a status we can't read counts as absent and doesn't hide the object", () => {
    const machine = decode(RemoteMachines, { metadata, spec: { pool: "p" }, status: { phase: "FromTheFuture" } })
    assert.deepStrictEqual(machine, { metadata, spec: { pool: "p" } })
    const pooled = { pool: "p", machine: { address: "a", sshKeyRef: { name: "k" } } }
    const host = decode(PooledRemoteMachines, { metadata, spec: pooled, status: { reserved: "yes" } })
    assert.isUndefined(host.status)
  })

  it("conditions of another provider's making read with what they have", () => {
    const old = { type: "Ready", status: "False", severity: "Error", lastTransitionTime: "2026-01-01T00:00:00Z" }
    const config = decode(K0sWorkerConfigs, { metadata, status: { ready: true, conditions: [old] } })
    assert.deepStrictEqual(config.status?.conditions, [
      { type: "Ready", status: "False", reason: "", message: "", lastTransitionTime: "2026-01-01T00:00:00Z" }
    ])
    assert.isTrue(config.status?.ready)
  })

  it("what k0smotron's Go client writes for a machine that waits", () => {
    const machine = decode(RemoteMachines, { metadata, spec: { pool: "p", sshKeyRef: { name: "" } }, status: {} })
    assert.strictEqual(machine.spec.sshKeyRef?.name, "")
  })

  it("what is no such object is refused", () => {
    assert.isTrue(refuses(RemoteMachines, { metadata }))
    assert.isTrue(refuses(RemoteMachines, { metadata, spec: { address: 7 } }))
    assert.isTrue(refuses(RemoteMachines, { spec: { address: "a" } }))
    assert.isTrue(refuses(PooledRemoteMachines, { metadata, spec: { pool: "p" } }))
    assert.isTrue(refuses(RemoteMachineTemplates, { metadata, spec: { template: { spec: {} } } }))
    assert.isTrue(refuses(K0sWorkerConfigTemplates, { metadata, spec: {} }))
  })
})

describe("core kinds", () => {
  it("Secrets and ConfigMaps give bytes and text", () => {
    const secret = decode(Secrets, {
      metadata,
      type: "t",
      data: secretData({ text: "grüße", raw: Uint8Array.of(0, 255) })
    })
    assert.strictEqual(secretText(secret, "text"), "grüße")
    assert.deepStrictEqual(secretBytes(secret, "raw"), Uint8Array.of(0, 255))
    assert.isUndefined(secretBytes(secret, "none"))
    assert.isUndefined(secretBytes({ ...secret, data: { bad: "%" } }, "bad"))
    const map = decode(ConfigMaps, { metadata, data: { a: "ä" }, binaryData: { b: "AP8=" } })
    assert.deepStrictEqual(configMapBytes(map, "a"), new TextEncoder().encode("ä"))
    assert.deepStrictEqual(configMapBytes(map, "b"), Uint8Array.of(0, 255))
    assert.isUndefined(configMapBytes(map, "c"))
  })

  it("objects as servers send them", () => {
    assert.isUndefined(decode(Events, { metadata, involvedObject: { name: "m" }, eventTime: null }).eventTime)
    assert.strictEqual(decode(Leases, { metadata, spec: { leaseDurationSeconds: 15 } }).spec?.leaseDurationSeconds, 15)
    assert.strictEqual(decode(Namespaces, { metadata, status: { phase: "Terminating" } }).status?.phase, "Terminating")
    const node = { metadata: { name: "n" }, spec: { providerID: "p", taints: [{ key: "k", effect: "NoSchedule" }] } }
    assert.deepStrictEqual<unknown>(decode(Nodes, node), node)
  })
})

describe("k0smotron's control planes", () => {
  const plane = (spec: unknown) => decode(K0smotronControlPlanes, { metadata, spec })

  it("name the hosting cluster in either version's place", () => {
    assert.isUndefined(hostingKubeconfig(plane({ version: "v1" })))
    const expected = { name: "host", namespace: "default", key: "value" }
    assert.deepStrictEqual(hostingKubeconfig(plane({ kubeconfigRef: { name: "host" } })), expected)
    assert.deepStrictEqual(
      hostingKubeconfig(plane({ remoteHostCluster: { kubeconfigRef: { name: "host" } } })),
      expected
    )
    const full = { name: "host", namespace: "other", key: "k" }
    assert.deepStrictEqual(hostingKubeconfig(plane({ remoteHostCluster: { kubeconfigRef: full } })), full)
  })

  it("name an ingress, on 443 by default", () => {
    assert.isUndefined(ingressEndpoint(plane({ ingress: {} })))
    assert.deepStrictEqual(ingressEndpoint(plane({ ingress: { apiHost: "api.x" } })), { host: "api.x", port: 443 })
    assert.deepStrictEqual(ingressEndpoint(plane({ ingress: { apiHost: "api.x", port: 8443 } }))?.port, 8443)
  })
})

it("the sentinel of the API and of the host protocol are one file", () => {
  assert.strictEqual(BOOTSTRAP_SENTINEL, SENTINEL)
})
