/**
 * Holds, with the real command line, a real API server and real sshd hosts with systemd: the examples of the bootstrap
 * page, rendered as the bootstrap provider does, run through the remote machine provider: all their commands, in order, and
 * the success file; and one that fails stops there, by its number and exit code.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { bootstrapData } from "../../src/domain/BootstrapData.ts"
import type { WorkerBootstrapInput } from "../../src/domain/BootstrapScript.ts"
import { pageExamples, payloadOf, workerInput } from "../support/pageExamples.ts"
import { available } from "./apiserver/ApiServer.ts"
import * as CloudInit from "./cloudinit/CloudInit.ts"
import * as PageCommands from "./cloudinit/PageCommands.ts"
import { createMachine } from "./e2e/Capi.ts"
import * as Controller from "./e2e/Controller.ts"
import { CLUSTER, KEY, Live, makeNamespace, readyCondition, until, untilReady } from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const rendered = (machineName: string, input: Partial<WorkerBootstrapInput>): Uint8Array => {
  const payload = payloadOf({
    joinToken: TestHosts.joinToken(),
    waits: { k0sSeconds: 60, nodeReadySeconds: 30 },
    ...input,
    machineName
  })
  return Result.getOrThrow(bootstrapData(payload, {})).value
}

const FAILING = { preStartCommands: ["witness one", "exit 42", "witness never"] }

describe.skipIf(!available || TestHosts.systemdUnavailable !== undefined)("the bootstrap page over SSH", () => {
  it.layer(Live.layer, { timeout: "15 minutes", excludeTestServices: true })((it) => {
    it.effect("every example of the pages, and one that fails", () =>
      Effect.gen(function* () {
        const { kube, server } = yield* Live
        const cases = [
          ...pageExamples.map(({ config, name }) => ({ name, input: workerInput(config) })),
          { name: "failing", input: FAILING }
        ]
        const hosts = yield* TestHosts.systemd(cases.length)
        const view = yield* makeNamespace(hosts[0]?.privateKey ?? "")
        const pairs = cases.flatMap((one, index) => {
          const host = hosts[index]
          return host === undefined ? [] : [{ ...one, host }]
        })
        for (const { host } of pairs) yield* CloudInit.installStandIns(host)
        const controller = yield* Controller.begin(server.kubeconfigPath, view.namespace)
        for (const { host, input, name } of pairs)
          yield* createMachine(kube, {
            namespace: view.namespace,
            cluster: CLUSTER,
            name,
            spec: { address: host.address, sshKeyRef: { name: KEY } },
            data: rendered(name, input)
          })
        const good = pairs.filter(({ name }) => name !== "failing")
        yield* untilReady(
          view,
          good.map(({ name }) => name)
        )
        for (const { host, input, name } of good) {
          assert.isTrue(yield* CloudInit.hasSentinel(host), name)
          const logs = yield* TestHosts.exec(host, "find /var/lib/machinist/runs -type f -exec cat {} +")
          yield* PageCommands.assertRan(name, input, host, logs.stdout)
        }
        yield* until("the failing one says so", () => readyCondition(view, "failing")?.reason === "StepFailed")
        const message = readyCondition(view, "failing")?.message ?? ""
        for (const words of ["pre-start 2", "42"]) assert.include(message, words)
        const failing = pairs.find(({ name }) => name === "failing")
        assert.isDefined(failing)
        assert.isFalse(yield* CloudInit.hasSentinel(failing.host))
        assert.deepStrictEqual(yield* PageCommands.told(failing.host), ["one"])
        assert.strictEqual(yield* controller.stop, 0)
      }).pipe(Effect.scoped)
    )
  })
})
