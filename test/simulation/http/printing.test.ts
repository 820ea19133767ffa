/**
 * What `kubectl get` shows: JSONPath of columns, ages, and the columns of built-in kinds.
 */
import { assert, describe, it } from "@effect/vitest"
import { coreTypes } from "../../../src/simulation/apiserver/builtin/CoreTypes.ts"
import type { Json, JsonObject, StoredObject } from "../../../src/simulation/apiserver/Json.ts"
import { columnsFor } from "../../../src/simulation/http/table/Columns.ts"
import { humanDuration, sinceText } from "../../../src/simulation/http/table/Duration.ts"
import { firstAt } from "../../../src/simulation/http/table/JsonPath.ts"

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

describe("ages", () => {
  it("are client-go's", () => {
    const cases = [
      [-3 * SECOND, "<invalid>"],
      [-1500, "0s"],
      [0, "0s"],
      [119 * SECOND, "119s"],
      [2 * MINUTE, "2m"],
      [9 * MINUTE + 59 * SECOND, "9m59s"],
      [10 * MINUTE + 5 * SECOND, "10m"],
      [179 * MINUTE, "179m"],
      [3 * HOUR, "3h"],
      [7 * HOUR + 59 * MINUTE, "7h59m"],
      [8 * HOUR + 59 * MINUTE, "8h"],
      [47 * HOUR, "47h"],
      [48 * HOUR, "2d"],
      [7 * DAY + 23 * HOUR, "7d23h"],
      [8 * DAY, "8d"],
      [729 * DAY, "729d"],
      [730 * DAY, "2y"],
      [3 * 365 * DAY + DAY, "3y1d"],
      [9 * 365 * DAY, "9y"]
    ] as const
    for (const [millis, text] of cases) assert.strictEqual(humanDuration(millis), text)
  })
  it("of no time, and of what is none", () => {
    assert.strictEqual(sinceText(undefined, 0), "<unknown>")
    assert.strictEqual(sinceText("yesterday", 0), "<invalid>")
    assert.strictEqual(sinceText("1970-01-01T00:00:00Z", 5 * SECOND), "5s")
  })
})

describe("JSONPath", () => {
  const object: Json = {
    spec: { size: 3, list: [10, 20, 30], zero: 0 },
    metadata: { labels: { "cluster.x-k8s.io/cluster-name": "c1" } },
    status: {
      conditions: [
        { type: "Synced", status: "False" },
        { type: "Ready", status: "True", age: 7 }
      ]
    }
  }
  it("finds the first value of what columns ask for", () => {
    const cases: ReadonlyArray<readonly [string, Json | undefined]> = [
      [".spec.size", 3],
      [".spec.zero", 0],
      ["spec.size", 3],
      ["{.spec.size}", 3],
      [".spec['size']", 3],
      [".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']", "c1"],
      [".metadata.labels.cluster\\.x-k8s\\.io/cluster-name", "c1"],
      ['.status.conditions[?(@.type=="Ready")].status', "True"],
      [".status.conditions[?(@.type=='Ready')].status", "True"],
      ['.status.conditions[?(@.type!="Ready")].status', "False"],
      [".status.conditions[?(@.age>5)].type", "Ready"],
      [".status.conditions[?(@.age)].type", "Ready"],
      [".spec.list[1]", 20],
      [".spec.list[-1]", 30],
      [".spec.list[*]", 10],
      [".status.conditions[*].type", "Synced"]
    ]
    for (const [path, expected] of cases) assert.deepStrictEqual(firstAt(object, path), expected, path)
  })
  it("finds nothing where there is nothing, or nothing it understands", () => {
    for (const path of [
      ".spec.nope",
      ".spec.size.more",
      ".spec.list[9]",
      ".spec[",
      "..size",
      ".spec.list[0:2]",
      ".x[?(@.a=~1)]",
      ""
    ]) {
      assert.isTrue(path === "" || firstAt(object, path) === undefined, path)
    }
  })
})

describe("columns of built-in kinds", () => {
  const now = Date.parse("2026-11-21T00:10:00Z")
  const cells = (kind: string, object: JsonObject): Record<string, Json> => {
    const type = coreTypes.find((each) => each.kind === kind) ?? assert.fail(kind)
    const stored: StoredObject = {
      apiVersion: "v1",
      kind,
      ...object,
      metadata: {
        name: "n",
        uid: "u",
        resourceVersion: "1",
        creationTimestamp: "2026-11-21T00:00:00Z",
        ...labels(object)
      }
    }
    const columns = columnsFor(type, "v1", { scaleOf: () => undefined, columnsOf: () => undefined })
    return Object.fromEntries(columns.map((column) => [column.name, column.cell(stored, now)]))
  }
  const labels = (object: JsonObject) =>
    object["labels"] === undefined ? {} : { labels: { "node-role.kubernetes.io/worker": "" } }

  it("a Node says whether it is ready, and who it is", () => {
    const node = cells("Node", {
      labels: {},
      spec: { unschedulable: true },
      status: {
        conditions: [{ type: "Ready", status: "True" }],
        nodeInfo: { kubeletVersion: "v1.30.0" },
        addresses: [{ type: "InternalIP", address: "10.0.0.1" }]
      }
    })
    assert.deepInclude(node, {
      Status: "Ready,SchedulingDisabled",
      Roles: "worker",
      Version: "v1.30.0",
      "Internal-IP": "10.0.0.1",
      "External-IP": "<none>",
      "OS-Image": "<unknown>",
      Age: "10m"
    })
    assert.deepInclude(cells("Node", {}), { Status: "Unknown", Roles: "<none>" })
    assert.deepInclude(cells("Node", { status: { conditions: [{ type: "Ready", status: "Unknown" }] } }), {
      Status: "NotReady"
    })
  })
  it("an Event says what happened to whom, and when last", () => {
    const event = cells("Event", {
      type: "Warning",
      reason: "Failed",
      message: "it broke\n",
      involvedObject: { kind: "RemoteMachine", name: "m1" },
      source: { component: "machinist", host: "h" },
      firstTimestamp: "2026-11-21T00:05:00Z",
      lastTimestamp: "2026-11-21T00:09:30Z",
      count: 3
    })
    assert.deepInclude(event, {
      "Last Seen": "30s",
      "First Seen": "5m",
      Type: "Warning",
      Object: "remotemachine/m1",
      Message: "it broke",
      Source: "machinist, h",
      Count: 3
    })
    const newer = cells("Event", {
      eventTime: "2026-11-21T00:09:00.000000Z",
      firstTimestamp: null,
      lastTimestamp: null
    })
    assert.deepInclude(newer, { "Last Seen": "60s", Count: 1 })
  })
  it("Secrets and ConfigMaps are counted, not shown", () => {
    assert.deepInclude(cells("Secret", { type: "Opaque", data: { a: "eA==", b: "eA==" } }), { Type: "Opaque", Data: 2 })
    assert.deepInclude(cells("ConfigMap", { data: { a: "x" }, binaryData: { b: "eA==" } }), { Data: 2 })
    assert.deepInclude(cells("Namespace", { status: { phase: "Terminating" } }), { Status: "Terminating" })
  })
  it("a Pod says how many of its containers are ready", () => {
    assert.deepInclude(
      cells("Pod", {
        spec: { containers: [{}, {}], nodeName: "w1" },
        status: {
          phase: "Running",
          containerStatuses: [
            { ready: true, restartCount: 2 },
            { ready: false, restartCount: 1 }
          ]
        }
      }),
      { Ready: "1/2", Status: "Running", Restarts: 3, Node: "w1", IP: "<none>" }
    )
  })
})
