/**
 * Owns how simulated workload clusters are served over HTTPS, so that a k0s on a real host can join with its token file:
 * on a port each, at an address that the hosts reach, with a certificate of the cluster's own authority, for the
 * administrator's token and bootstrap tokens. Does not own the clusters (SimulatedWorkloads.ts).
 */
import { X509Certificate } from "node:crypto"
import { createServer } from "node:net"
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { anyOf, bootstrapTokens, oneToken } from "../http/Access.ts"
import * as HttpsFront from "../http/HttpsFront.ts"
import type { SimulatedApiServerShape } from "../SimulatedApiServer.ts"
import type { WorkloadAccess } from "./KubeconfigSecret.ts"
import { KEY_SEED_BYTES, serverCertificate } from "./standins/Certificates.ts"

export interface Endpoint {
  readonly host: string
  readonly port: number
}

export interface WorkloadFront {
  /** An address for a cluster that has none; not yet listened at. */
  readonly endpoint: Effect.Effect<Endpoint, HttpsFront.FrontError>
  /** At the address that its kubeconfig says, until the scope ends. */
  readonly serve: (
    access: WorkloadAccess,
    server: SimulatedApiServerShape
  ) => Effect.Effect<void, HttpsFront.FrontError, Scope.Scope>
}

/** Where an address is ours only beyond a router or a name. */
const ANY_ADDRESS = "0.0.0.0"
/** Certificates begin this long ago: nobody's clock is exact. In milliseconds. */
const BACKDATED_MILLIS = 3_600_000

const failed = (message: string) => new HttpsFront.FrontError({ message })

const freePort: Effect.Effect<number, HttpsFront.FrontError> = Effect.callback((resume) => {
  const server = createServer()
  server.once("error", (error) => resume(Effect.fail(failed(`no port is free: ${error.message}`))))
  server.listen(0, ANY_ADDRESS, () => {
    const address = server.address()
    const port = address === null || typeof address === "string" ? 0 : address.port
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** Of the server at `host`, signed by the cluster's authority. */
export const certificate = Effect.fnUntraced(function* (access: WorkloadAccess, host: string) {
  const { authorityKey, ca } = access
  if (authorityKey === undefined)
    return yield* failed(
      `no certificate for ${host} can be signed: the Secret with the cluster's authority has no tls.key`
    )
  const random = yield* SecureRandom.SecureRandom
  const seed = yield* random.randomBytes(KEY_SEED_BYTES)
  const now = yield* Clock.currentTimeMillis
  return yield* Effect.fromResult(
    Result.try({
      try: () => {
        const commonName = /^CN=(.*)$/m.exec(new X509Certificate(ca).subject)?.[1] ?? ""
        return serverCertificate({ commonName, privateKey: authorityKey }, host, seed, now - BACKDATED_MILLIS)
      },
      catch: (error) =>
        failed(
          `no certificate for ${host} can be signed with the cluster's authority: ${error instanceof Error ? error.message : String(error)}`
        )
    })
  )
})

/** `advertised`: what hosts reach this machine by, an IP address or a name. */
export const make = Effect.fnUntraced(function* (
  advertised: string
): Effect.fn.Return<WorkloadFront, never, SecureRandom.SecureRandom> {
  const random = yield* SecureRandom.SecureRandom
  return {
    endpoint: Effect.map(freePort, (port) => ({ host: advertised, port })),
    serve: Effect.fnUntraced(function* (access, server) {
      const url = new URL(access.server)
      const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
      const port = Number(url.port === "" ? 443 : url.port)
      const { certificate: certPem, privateKey: keyPem } = yield* certificate(access, host).pipe(
        Effect.provideService(SecureRandom.SecureRandom, random)
      )
      const front = (address: string) =>
        HttpsFront.make({
          server,
          port,
          address,
          identity: { caPem: access.ca, certPem, keyPem, token: access.token },
          authenticate: anyOf(oneToken(access.token), bootstrapTokens(server.kubeClient))
        }).pipe(Effect.provideService(SecureRandom.SecureRandom, random))
      yield* front(host).pipe(
        Effect.catch((error) =>
          error.isElsewhere !== true
            ? Effect.fail(error)
            : host === advertised
              ? front(ANY_ADDRESS)
              : Effect.fail(
                  failed(
                    `a stand-in control plane can't be served at ${host}:${port}: that is no address of this machine. Leave spec.controlPlaneEndpoint out, or bring the control plane's own Secrets (docs/real-hosts.md)`
                  )
                )
        )
      )
    })
  }
})
