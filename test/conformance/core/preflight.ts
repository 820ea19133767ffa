/**
 * Owns what core promises to look at before a MachineSet gets a Machine more: that the control plane stands still, and
 * that it can have Machines of that version. Whoever plays the control plane has to say its version.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Raw } from "../../../src/simulation/core/Raw.ts"
import { createTemplates, machineTemplate } from "./templates.ts"
import {
  ControlPlanes,
  conditionOf,
  create,
  eventually,
  freshNamespace,
  get,
  type It,
  listed,
  MachineSets,
  Machines,
  patch,
  patchStatus,
  readyCluster,
  until
} from "./World.ts"

const blocked = (by: string) => (set: Raw) => {
  const found = conditionOf(set, "ScalingUp")
  return found?.["status"] === "True" && String(found["message"]).includes(`${by}" preflight check failed`)
}

const createSet = (namespace: string, version?: string) =>
  create(MachineSets, namespace, "set", {
    spec: {
      clusterName: "one",
      replicas: 1,
      selector: { matchLabels: { pool: "workers" } },
      template: machineTemplate("one", "blue", version === undefined ? {} : { version })
    }
  })

const oneMachine = (namespace: string) =>
  eventually("one Machine", Machines, namespace, (machines) => (machines.length === 1 ? true : undefined))

const prepared = Effect.gen(function* () {
  const namespace = yield* freshNamespace
  yield* readyCluster(namespace, "one")
  yield* createTemplates(namespace, "blue")
  return namespace
})

export const preflight = (it: It): void => {
  it.effect("no Machine comes while the control plane is upgraded", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      const version = "v1.28.1-k0s.0"
      const plane = yield* patch(ControlPlanes, yield* get(ControlPlanes, namespace, "one"), { spec: { version } })
      yield* createSet(namespace)
      yield* until("blocked", MachineSets, namespace, "set", blocked("ControlPlaneIsStable"))
      assert.lengthOf(yield* listed(Machines, namespace), 0)
      yield* patchStatus(ControlPlanes, plane, { version })
      yield* oneMachine(namespace)
    })
  )

  it.effect("no Machine comes that is newer than its control plane, unless a person says so", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      const set = yield* createSet(namespace, "v1.30.0")
      yield* until("blocked", MachineSets, namespace, "set", blocked("KubernetesVersionSkew"))
      assert.lengthOf(yield* listed(Machines, namespace), 0)
      yield* patch(MachineSets, set, {
        metadata: { annotations: { "machineset.cluster.x-k8s.io/skip-preflight-checks": "KubernetesVersionSkew" } }
      })
      yield* oneMachine(namespace)
    })
  )
}
