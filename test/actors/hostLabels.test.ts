/**
 * Holds what becomes of a host's labels and annotations on the machine that claims it: they come with the host, and go with
 * it; what the machine has of its own, or somebody has changed since, stays.
 */
import { assert, describe, it } from "@effect/vitest"
import { handedOver } from "../../src/actors/HostLabels.ts"
import { FROM_HOST_ANNOTATION, ZONE_LABEL } from "../../src/api/Names.ts"
import type { PooledRemoteMachine } from "../../src/api/PooledRemoteMachine.ts"
import type { RemoteMachine } from "../../src/api/RemoteMachine.ts"
import type { JsonObject } from "../../src/kube/KubeClient.ts"

type Values = Readonly<Record<string, string>>

const machine = (labels: Values, annotations: Values = {}): RemoteMachine => ({
  metadata: { name: "m1", labels, annotations },
  spec: {}
})
const host = (labels: Values, annotations: Values = {}): PooledRemoteMachine => ({
  metadata: { name: "h1", labels, annotations },
  spec: { pool: "default", machine: { address: "10.0.0.1", sshKeyRef: { name: "key" } } }
})

const merged = (present: Values | undefined, patch: JsonObject[string]): Values =>
  Object.fromEntries(
    Object.entries({ ...present, ...(patch as JsonObject | undefined) }).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string"
    )
  )
/** As the API server would have it. */
const handed = (before: RemoteMachine, to: PooledRemoteMachine | undefined): RemoteMachine => {
  const { labels, annotations } = handedOver(before, to)
  const { metadata } = before
  return machine(merged(metadata.labels, labels), merged(metadata.annotations, annotations))
}
const shown = ({ metadata: { labels = {}, annotations = {} } }: RemoteMachine) => {
  const { [FROM_HOST_ANNOTATION]: _, ...others } = annotations
  return { labels, annotations: others }
}

describe("labels and annotations of a host", () => {
  it("come with it, and go with it", () => {
    const own = machine({ app: "db" }, { note: "mine" })
    const claimed = handed(own, host({ rack: "r1", [ZONE_LABEL]: "a" }, { site: "x" }))
    assert.deepStrictEqual(shown(claimed), {
      labels: { app: "db", rack: "r1", [ZONE_LABEL]: "a" },
      annotations: { note: "mine", site: "x" }
    })
    assert.deepStrictEqual(handed(claimed, undefined), own, "also when the host's object is gone, or was edited")
  })

  it("make room for the next host's", () => {
    const first = handed(machine({}), host({ rack: "r1", disk: "ssd", [ZONE_LABEL]: "a" }, { site: "x" }))
    const second = handed(first, host({ rack: "r2" }, { site: "y" }))
    assert.deepStrictEqual(shown(second), { labels: { rack: "r2" }, annotations: { site: "y" } })
    assert.deepStrictEqual(handed(second, undefined), machine({}))
  })

  it("are the machine's own where it had them before, equal or not; but where the host is, the host says", () => {
    const own = machine({ rack: "r1", disk: "hdd", [ZONE_LABEL]: "template's" })
    const claimed = handed(own, host({ rack: "r1", disk: "ssd", [ZONE_LABEL]: "a" }))
    assert.deepStrictEqual(shown(claimed).labels, { rack: "r1", disk: "hdd", [ZONE_LABEL]: "a" })
    assert.deepStrictEqual(handed(claimed, undefined), machine({ rack: "r1", disk: "hdd" }))
    const same = handed(own, host({ [ZONE_LABEL]: "template's" }))
    assert.deepStrictEqual(handed(same, undefined), own)
  })

  it("that somebody has changed meanwhile stay, and so does what was taken away", () => {
    const { labels = {}, annotations = {} } = handed(machine({}), host({ rack: "r1", disk: "ssd" })).metadata
    assert.deepStrictEqual(labels, { rack: "r1", disk: "ssd" })
    const edited = machine({ rack: "mine" }, annotations)
    assert.deepStrictEqual(handed(edited, undefined), machine({ rack: "mine" }))
  })

  it("may be called as every object's own properties are", () => {
    const claimed = handed(machine({}), host({ constructor: "acme" }))
    assert.deepStrictEqual(shown(claimed).labels, { constructor: "acme" })
    const removed = machine({}, claimed.metadata.annotations)
    assert.deepStrictEqual(handed(removed, undefined), machine({}))
  })

  it("that are kubectl's, Cluster API's or ours neither come nor go", () => {
    const kept = { "kubectl.kubernetes.io/x": "1", "cluster.x-k8s.io/x": "2", "machinist.dev/claim": "3" }
    const own = machine({}, { "machinist.dev/claim": "mine" })
    assert.deepStrictEqual(handedOver(own, host(kept, kept)), {})
    const forged = machine({}, { ...own.metadata.annotations, [FROM_HOST_ANNOTATION]: "not ours to read" })
    assert.deepStrictEqual(handed(forged, undefined), own)
  })

  it("are written only when something changes", () => {
    const given = host({ rack: "r1" }, { site: "x" })
    assert.deepStrictEqual(handedOver(handed(machine({}), given), given), {})
    assert.deepStrictEqual(handedOver(machine({ app: "db" }), undefined), {})
  })
})
