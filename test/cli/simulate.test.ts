/**
 * `machinist simulate` and `machinist controller` as two processes: the provider reaches the clusters of stand-in control
 * planes as it reaches any other, so that a Machine gets bootstrap data with a token of its own; they outlive SIGKILL.
 */
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { type Secret, Secrets, secretText } from "../../src/api/Core.ts"
import { K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import { kubeconfigSecretName, SECRET_VALUE_KEY } from "../../src/api/Names.ts"
import { TOKEN_SECRET_TYPE } from "../../src/domain/JoinToken.ts"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { stringAt } from "../../src/simulation/apiserver/Json.ts"
import { rawKind } from "../../src/simulation/core/Raw.ts"
import { readExamples } from "../../src/simulation/demo/Examples.ts"
import * as CommandLine from "../support/CommandLine.ts"

const { signalled, start, using } = CommandLine

const NAMESPACE = "default"

/** Something was said: it serves, or runs. */
const up = (child: ChildProcess) => Effect.promise(() => once(child.stdout ?? assert.fail("no output"), "data"))

const applyExample = (client: KubeClientShape) =>
  Effect.gen(function* () {
    const example = Result.getOrThrow(readExamples()).find(({ name }) => name === "remote-machine")
    for (const { object } of example?.manifests ?? assert.fail("no such example")) {
      const [group = "", version = ""] = stringAt(object, "apiVersion")?.split("/") ?? []
      const kind = stringAt(object, "kind") ?? ""
      const plural = `${kind.toLowerCase()}s`
      yield* client.create(rawKind({ group, kind, plural, versions: [version] }), {
        ...object,
        metadata: { namespace: NAMESPACE, name: stringAt(object, "metadata", "name") ?? "" }
      })
    }
  })

/** From its creation to its end, to the minute. */
const hoursOf = (token: Secret): number => {
  const millis = Date.parse(secretText(token, "expiration") ?? "") - Date.parse(token.metadata.creationTimestamp ?? "")
  return Math.round(millis / 60_000) / 60
}

/** Tokens in the workload cluster, by the way in that everybody has. */
const tokens = (client: KubeClientShape) =>
  Effect.gen(function* () {
    const secret = yield* client.get(Secrets, { namespace: NAMESPACE, name: kubeconfigSecretName("remote-test") })
    const kubeconfig = secretText(secret, SECRET_VALUE_KEY) ?? ""
    const workload = yield* makeKubeClient({ _tag: "Text", kubeconfig })
    const { items } = yield* workload.list(Secrets, { namespace: "kube-system" })
    return items
      .filter(({ type }) => type === TOKEN_SECRET_TYPE)
      .map((token) => ({ name: token.metadata.name, hours: hoursOf(token) }))
  }).pipe(Effect.scoped)

const patiently = Effect.retry({ schedule: Schedule.spaced("200 millis"), times: 150 })

describe("machinist simulate", () => {
  it.live(
    "is enough for machinist controller to give a Machine its bootstrap data, with a token of the life it was told",
    () =>
      Effect.gen(function* () {
        const directory = yield* CommandLine.directory
        const kubeconfig = join(directory, "kubeconfig")
        const args = ["simulate", "--json", "--kubeconfig", kubeconfig, "--state", join(directory, "state")]
        const server = yield* start(args)
        yield* up(server)
        const provider = yield* start(["controller", "--kubeconfig", kubeconfig, "--bootstrap-token-ttl", "2h"])
        yield* using(kubeconfig, applyExample)
        const ref = { namespace: NAMESPACE, name: "remote-test-0" }
        yield* using(kubeconfig, (client) =>
          client.get(K0sWorkerConfigs, ref).pipe(
            Effect.filterOrFail(
              ({ status }) => status?.dataSecretName !== undefined,
              ({ status }) => new Error(JSON.stringify(status?.conditions))
            ),
            patiently
          )
        )
        const before = yield* using(kubeconfig, tokens)
        assert.deepStrictEqual(
          before.map(({ hours }) => hours),
          [2]
        )

        provider.kill("SIGKILL")
        yield* signalled(server, "SIGKILL")
        yield* up(yield* start(args))
        assert.deepStrictEqual(yield* using(kubeconfig, (client) => patiently(tokens(client))), before)
      }).pipe(Effect.scoped)
  )
})
