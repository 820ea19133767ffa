/**
 * Holds a K0sWorkerConfig that asks for Ignition: the Secret says so, its token is found in it again when the workload
 * cluster lost it, and a Secret that was deleted comes back byte for byte.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Secrets, secretText } from "../../src/api/Core.ts"
import { ignitionContents } from "../../src/domain/bootstrap/Ignition.ts"
import * as B from "../support/bootstrap.ts"
import { ref } from "../support/cluster.ts"

const HOUR_MILLIS = 3_600_000

describe("a K0sWorkerConfig for Ignition", () => {
  it.effect("keeps its token and its bytes, and gives the token up when the machine has joined", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube, {
        ignition: { variant: "flatcar", version: "1.1.0", additionalConfig: "storage: {files: [{path: /etc/x}]}" },
        preStartCommands: ["echo pre"]
      })
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const secret = yield* B.dataSecret(all)
      if (secret === undefined) return assert.fail("no Secret")
      assert.strictEqual(secretText(secret, "format"), "ignition")
      const data = B.dataText(secret)
      assert.isTrue(ignitionContents(Buffer.from(data)).has("/etc/k0s.token"))
      assert.strictEqual(JSON.parse(data).ignition.version, "3.4.0")

      // Someone deletes the token: the same one is back, for the data still carries it.
      const [token] = yield* B.tokens(all)
      if (token === undefined) return assert.fail("no token")
      yield* all.workload.kubeClient.delete(Secrets, { namespace: "kube-system", name: token.metadata.name })
      yield* B.settle(2 * HOUR_MILLIS)
      const [again] = yield* B.tokens(all)
      assert.strictEqual(again === undefined ? "" : B.tokenText(again), B.tokenText(token))

      yield* all.kube.delete(Secrets, ref(B.NAME))
      yield* B.eventually(
        "the Secret is back",
        Effect.map(B.dataSecret(all), (one) => one !== undefined)
      )
      assert.strictEqual(B.dataText(yield* B.dataSecret(all)), data)

      yield* B.join(all.kube)
      yield* B.eventually(
        "no token is left",
        Effect.map(B.tokens(all), (tokens) => tokens.length === 0)
      )
    }).pipe(Effect.scoped)
  )
})
