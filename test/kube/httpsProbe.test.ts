/**
 * Holds the one look at a controllers' join port, at a real HTTPS server: any answer of who has the cluster's certificate
 * counts; another certificate, silence, nobody and nonsense don't, within the bound.
 */
import { randomBytes } from "node:crypto"
import { createServer as createHttps } from "node:https"
import { createServer, type Server } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { answers } from "../../src/kube/HttpsProbe.ts"
import * as Certificates from "../../src/simulation/core/standins/Certificates.ts"

const seed = () => randomBytes(Certificates.KEY_SEED_BYTES)
const NOW = 1_790_000_000_000
const authority = (name: string) => Certificates.selfSigned(name, seed(), NOW)

const listening = (server: Server) =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () => Effect.sync(() => server.close())
  )

describe("answers", () => {
  it.live("whoever has the cluster's certificate, whatever it says; nobody else", () =>
    Effect.gen(function* () {
      const ca = authority("demo-ca")
      const own = Certificates.serverCertificate(
        { commonName: "demo-ca", privateKey: ca.privateKey },
        "127.0.0.1",
        seed(),
        NOW
      )
      const refusing = createHttps({ cert: own.certificate, key: own.privateKey }, (_, response) => {
        response.writeHead(401).end()
      })
      const port = yield* listening(refusing)
      assert.isTrue(yield* answers(`https://127.0.0.1:${port}/v1beta1/ca`, ca.certificate))
      assert.isFalse(yield* answers(`https://127.0.0.1:${port}/v1beta1/ca`, authority("other-ca").certificate))
      assert.isFalse(yield* answers(`https://127.0.0.1:${port}/v1beta1/ca`, "no certificate"))
      assert.isFalse(yield* answers("https://127.0.0.1:1/v1beta1/ca", ca.certificate))
      assert.isFalse(yield* answers("https://bad host/", ca.certificate))
      const silent = yield* listening(createServer(() => {}))
      assert.isFalse(yield* answers(`https://127.0.0.1:${silent}/`, ca.certificate))
    }).pipe(Effect.scoped)
  )
})
