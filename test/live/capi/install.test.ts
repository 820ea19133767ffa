/**
 * Holds the generated manifests to what they are for: `clusterctl init` and plain `kubectl apply` install them on a real
 * API server, and the provider starts with the arguments of its Deployment and the rights of its ServiceAccount alone.
 */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Leases } from "../../../src/api/Core.ts"
import { HALVES } from "../../../src/provider/Options.ts"
import { rawKind } from "../../../src/simulation/core/Raw.ts"
import { available, start } from "../apiserver/ApiServer.ts"
import * as Controller from "../e2e/Controller.ts"
import { binaries } from "../kubectl/Kubectl.ts"
import * as Clusterctl from "./Clusterctl.ts"
import * as Management from "./Management.ts"
import * as Manager from "./Manager.ts"

const INSTALL = fileURLToPath(new URL("../../../manifests/install.yaml", import.meta.url))

const Providers = rawKind({
  group: "clusterctl.cluster.x-k8s.io",
  kind: "Provider",
  plural: "providers",
  versions: ["v1alpha3"]
})
const Deployments = rawKind({ group: "apps", kind: "Deployment", plural: "deployments", versions: ["v1"] })

const kubectl = binaries.find((binary) => binary.available)

describe.skipIf(!available || !Manager.available)("installation", () => {
  it.live("clusterctl init installs both providers, and each runs as its Deployment says, with its own rights", () =>
    Effect.gen(function* () {
      const { kube, server } = yield* Management.start
      const { items: providers } = yield* kube.list(Providers)
      assert.sameMembers(
        providers.map((one) => `${one.metadata.namespace}/${one.metadata.name}`),
        [
          "capi-system/cluster-api",
          "machinist-bootstrap-system/bootstrap-machinist",
          "machinist-infrastructure-system/infrastructure-machinist"
        ]
      )
      for (const half of HALVES) {
        const namespace = `machinist-${half}-system`
        yield* kube.get(Deployments, { namespace, name: `machinist-${half}-controller-manager` })
        const kubeconfig = server.userKubeconfigs.get(Management.account(half).name) ?? ""
        // Ports are this machine's, which other suites use as well.
        const ports = /^--(?:health-addr|diagnostics-address)=/
        const controller = yield* Controller.start(kubeconfig, "", {
          flags: Clusterctl.deployedArguments(half)
            .slice(1)
            .filter((one) => !ports.test(one)),
          environment: { POD_NAMESPACE: namespace }
        })
        yield* controller.running
        const { items: leases } = yield* kube.list(Leases, { namespace })
        assert.deepStrictEqual(
          leases.map((one) => one.metadata.name),
          [`machinist-${half}-leader-election`]
        )
        assert.strictEqual(yield* controller.stop, 0)
        assert.deepStrictEqual(
          controller.log().filter((line) => /forbidden|Forbidden/.test(line)),
          []
        )
      }
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(kubectl === undefined)(
    "kubectl apply takes install.yaml as it is, and changes nothing the second time",
    () =>
      Effect.gen(function* () {
        const server = yield* start
        const apply = () =>
          spawnSync(kubectl?.path() ?? "", ["--kubeconfig", server.kubeconfigPath, "apply", "-f", INSTALL], {
            encoding: "utf8"
          })
        const first = apply()
        assert.strictEqual(first.status, 0, first.stderr)
        assert.notInclude(first.stderr, "Warning")
        const second = apply()
        assert.strictEqual(second.status, 0, second.stderr)
        const lines = second.stdout.trim().split("\n")
        assert.isAbove(lines.length, 10)
        for (const line of lines) assert.match(line, / unchanged$/)
      }).pipe(Effect.scoped)
  )
})
