/**
 * Holds: the arithmetic of rollouts is CAPI's: how far each set may grow or shrink now, for every strategy, and that from
 * any beginning the steps end with all replicas in the current set, within the bounds at every step.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Json, JsonObject } from "../../../src/kube/KubeClient.ts"
import type { Raw } from "../../../src/simulation/core/Raw.ts"
import * as Rollout from "../../../src/simulation/core/Rollout.ts"

const template = (name: string, more: JsonObject = {}): JsonObject => ({
  spec: {
    bootstrap: { configRef: { apiGroup: "b", kind: "ConfigTemplate", name } },
    infrastructureRef: { apiGroup: "i", kind: "MachineTemplate", name },
    ...more
  }
})

const deployment = (replicas: number, strategy: JsonObject, more: JsonObject = {}): Raw => ({
  apiVersion: "cluster.x-k8s.io/v1beta2",
  metadata: { name: "d" },
  spec: { replicas, rollout: { strategy }, template: template("green"), ...more }
})

const rolling = (maxSurge: Json, maxUnavailable: Json): JsonObject => ({
  type: "RollingUpdate",
  rollingUpdate: { maxSurge, maxUnavailable }
})

interface Counts {
  readonly spec: number
  readonly actual?: number
  readonly available?: number
}

const set = (
  name: string,
  { spec, actual = spec, available = actual }: Counts,
  created = "2026-01-01T00:00:00Z",
  from = "green"
): Raw => ({
  apiVersion: "cluster.x-k8s.io/v1beta2",
  metadata: { name, creationTimestamp: created },
  spec: { replicas: spec, template: template(from) },
  status: { replicas: actual, availableReplicas: available }
})

const planned = (plan: Rollout.Plan) => Object.fromEntries(plan)

describe("bounds", () => {
  const table: ReadonlyArray<readonly [number, JsonObject, Rollout.Fences]> = [
    [10, rolling("25%", "25%"), { maxSurge: 3, maxUnavailable: 2 }],
    [3, rolling(1, 0), { maxSurge: 1, maxUnavailable: 0 }],
    [3, rolling(0, 0), { maxSurge: 0, maxUnavailable: 1 }],
    [1, rolling(0, "50%"), { maxSurge: 0, maxUnavailable: 1 }],
    [2, rolling(0, 5), { maxSurge: 0, maxUnavailable: 2 }],
    [3, { type: "OnDelete" }, { maxSurge: 0, maxUnavailable: 0 }],
    [3, {}, { maxSurge: 1, maxUnavailable: 0 }]
  ]
  for (const [replicas, strategy, fences] of table)
    it(`${replicas} replicas, ${JSON.stringify(strategy)}`, () =>
      assert.deepStrictEqual(Rollout.fences(deployment(replicas, strategy)), fences))

  it("v1beta1 has its strategy elsewhere", () => {
    const old: Raw = { metadata: { name: "d" }, spec: { replicas: 4, strategy: rolling("50%", 0) } }
    assert.deepStrictEqual(Rollout.fences(old), { maxSurge: 2, maxUnavailable: 0 })
  })
})

describe("steps", () => {
  const table: ReadonlyArray<readonly [string, Raw, Raw, ReadonlyArray<Raw>, Record<string, number>]> = [
    ["a new deployment: all at once", deployment(3, rolling(1, 0)), set("new", { spec: 0 }), [], { new: 3 }],
    ["surge first", deployment(3, rolling(1, 0)), set("new", { spec: 0 }), [set("old", { spec: 3 })], { new: 1 }],
    [
      "nothing goes before the new one is available",
      deployment(3, rolling(1, 0)),
      set("new", { spec: 1, available: 0 }),
      [set("old", { spec: 3 })],
      {}
    ],
    ["then one goes", deployment(3, rolling(1, 0)), set("new", { spec: 1 }), [set("old", { spec: 3 })], { old: 2 }],
    [
      "one being deleted still counts",
      deployment(3, rolling(1, 0)),
      set("new", { spec: 1 }),
      [set("old", { spec: 2, actual: 3, available: 2 })],
      {}
    ],
    [
      "unavailable allowed: one goes first",
      deployment(3, rolling(0, 1)),
      set("new", { spec: 0 }),
      [set("old", { spec: 3 })],
      { old: 2 }
    ],
    [
      "unavailable old ones go first",
      deployment(3, rolling(1, 0)),
      set("new", { spec: 1 }),
      [set("o1", { spec: 2, available: 2 }), set("o2", { spec: 1, available: 0 })],
      { o2: 0 }
    ],
    ["scaled down: the new set shrinks", deployment(2, rolling(1, 0)), set("new", { spec: 3 }), [], { new: 2 }],
    [
      "on delete: nothing goes by itself",
      deployment(3, { type: "OnDelete" }),
      set("new", { spec: 0 }),
      [set("old", { spec: 3 })],
      {}
    ],
    [
      "on delete: what a person deleted is not made again",
      deployment(3, { type: "OnDelete" }),
      set("new", { spec: 0 }),
      [set("old", { spec: 3, actual: 2 })],
      { old: 2 }
    ],
    [
      "on delete: it comes back in the new set",
      deployment(3, { type: "OnDelete" }),
      set("new", { spec: 0 }),
      [set("old", { spec: 2 })],
      { new: 1 }
    ],
    [
      "on delete, scaled down: the oldest set shrinks",
      deployment(2, { type: "OnDelete" }),
      set("new", { spec: 1 }),
      [set("old", { spec: 2 })],
      { old: 1 }
    ],
    [
      "stuck on old ones that never came: one is given up",
      deployment(3, rolling(0, 1)),
      set("new", { spec: 0 }),
      [set("old", { spec: 3, available: 1 })],
      { old: 2 }
    ]
  ]
  for (const [title, owner, current, old, expected] of table)
    it(title, () => assert.deepStrictEqual(planned(Rollout.plan(owner, current, old)), expected))

  const shapes: ReadonlyArray<readonly [number, Json, Json]> = [
    [1, 1, 0],
    [3, 1, 0],
    [3, 0, 1],
    [5, 2, 1],
    [7, "25%", "25%"],
    [4, "100%", 0],
    [6, 0, "50%"]
  ]
  for (const [replicas, surge, unavailable] of shapes)
    it(`${replicas} replicas, surge ${surge}, unavailable ${unavailable}: ends, within bounds at every step`, () => {
      const owner = deployment(replicas, rolling(surge, unavailable))
      const { maxSurge, maxUnavailable } = Rollout.fences(owner)
      let current: Counts = { spec: 0 }
      let old: Counts = { spec: replicas }
      let steps = 0
      while (current.spec !== replicas || old.spec !== 0) {
        assert.isBelow(steps++, 50, "it does not end")
        const plan = Rollout.plan(owner, set("new", current), [set("old", old)])
        assert.isAbove(plan.size, 0, "it is stuck")
        // Everything asked for comes true, and is available, before the next step.
        current = { spec: plan.get("new") ?? current.spec }
        old = { spec: plan.get("old") ?? old.spec }
        assert.isAtMost(current.spec + old.spec, replicas + maxSurge)
        assert.isAtLeast(current.spec + old.spec, replicas - maxUnavailable)
      }
    })
})

describe("which set is current", () => {
  const later = "2026-02-01T00:00:00Z"
  const february = Date.parse(later)

  it("the one made from the same templates, by whatever version they are named", () => {
    const old: Raw = {
      metadata: { name: "old-shape", creationTimestamp: later },
      spec: {
        replicas: 1,
        template: {
          spec: {
            bootstrap: {
              configRef: { apiVersion: "b/v1beta1", kind: "ConfigTemplate", name: "green", namespace: "default" }
            },
            infrastructureRef: { apiVersion: "i/v1beta1", kind: "MachineTemplate", name: "green" }
          }
        }
      }
    }
    const found = Rollout.findSets(deployment(1, {}), [set("blue", { spec: 1 }, later, "blue"), old], february)
    assert.strictEqual(found.current?.metadata.name, "old-shape")
    assert.deepStrictEqual(
      found.old.map((one) => one.metadata.name),
      ["blue"]
    )
  })

  it("of several the one with the most replicas", () => {
    const sets = [set("few", { spec: 1 }), set("many", { spec: 2 })]
    assert.strictEqual(Rollout.findSets(deployment(3, {}), sets, february).current?.metadata.name, "many")
  })

  it("none that is older than a rollout asked for, once its time has come", () => {
    const owner = deployment(1, {}, { rollout: { after: "2026-01-15T00:00:00Z" } })
    const sets = [set("early", { spec: 1 })]
    assert.strictEqual(
      Rollout.findSets(owner, sets, Date.parse("2026-01-14T00:00:00Z")).current?.metadata.name,
      "early"
    )
    assert.isUndefined(Rollout.findSets(owner, sets, february).current)
    assert.strictEqual(
      Rollout.findSets(owner, [...sets, set("late", { spec: 0 }, later)], february).current?.metadata.name,
      "late"
    )
  })

  it("says what is different", () => {
    const desired = { ...Rollout.templateOf(deployment(1, {})), version: "v1.28.0", failureDomain: "b" }
    const current = {
      ...desired,
      version: "1.27.0",
      failureDomain: "a",
      infrastructureRef: { apiGroup: "i", kind: "MachineTemplate", name: "blue" }
    }
    assert.deepStrictEqual(Rollout.differences(current, desired), [
      "Version v1.27.0, v1.28.0 required",
      "Machine is not up-to-date",
      "Failure domain a, b required"
    ])
    assert.deepStrictEqual(Rollout.differences({ ...desired, version: "1.28.0" }, desired), [])
  })
})

describe("a paused deployment", () => {
  it("scales its only set with replicas", () => {
    const sets = { current: set("new", { spec: 0 }), old: [set("old", { spec: 3 })] }
    assert.deepStrictEqual(planned(Rollout.scaleOnly(deployment(5, rolling(1, 0)), sets)), { old: 5 })
  })
  it("shares among several by size, no more in all than replicas and surge", () => {
    const sets = { current: set("new", { spec: 2 }), old: [set("old", { spec: 4 })] }
    assert.deepStrictEqual(planned(Rollout.scaleOnly(deployment(8, rolling(1, 0)), sets)), { old: 6, new: 3 })
  })
  it("to nothing", () => {
    const sets = { current: set("new", { spec: 2 }), old: [set("old", { spec: 4 })] }
    assert.deepStrictEqual(planned(Rollout.scaleOnly(deployment(0, rolling(1, 0)), sets)), { old: 0, new: 0 })
  })
})

describe("revisions", () => {
  const revised = (name: string, revision: string): Raw => {
    const made = set(name, { spec: 0 })
    return {
      ...made,
      metadata: { ...made.metadata, annotations: { "machinedeployment.clusters.x-k8s.io/revision": revision } }
    }
  }
  it("the current set has the greatest; one that comes back remembers what it was", () => {
    assert.deepStrictEqual(Rollout.revisionAnnotations({ current: undefined, old: [] }), {
      "machinedeployment.clusters.x-k8s.io/revision": "1"
    })
    assert.deepStrictEqual(Rollout.revisionAnnotations({ current: revised("a", "1"), old: [revised("b", "2")] }), {
      "machinedeployment.clusters.x-k8s.io/revision": "3",
      "machinedeployment.clusters.x-k8s.io/revision-history": "1"
    })
    assert.deepStrictEqual(Rollout.revisionAnnotations({ current: revised("a", "5"), old: [] }), {
      "machinedeployment.clusters.x-k8s.io/revision": "5"
    })
  })
})
