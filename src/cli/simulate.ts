/**
 * Owns `machinist simulate`: the embedded management cluster alone, with our kinds, CAPI's and CAPI's core, served to
 * kubectl and controllers over HTTPS until Ctrl-C. Does not own the server (simulation/), hosts, nor the provider: that is
 * run against it with `machinist controller`.
 */

import * as Console from "effect/Console"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import { ourCrds } from "../api/crd/Render.ts"
import type { JsonObject } from "../kube/KubeClient.ts"
import { coreCrds } from "../simulation/core/crds.ts"
import * as SimulatedWorkloads from "../simulation/core/SimulatedWorkloads.ts"
import { standInCrds } from "../simulation/core/standins/crds.ts"
import * as WorkloadFront from "../simulation/core/WorkloadFront.ts"
import { startCore } from "../simulation/demo/Management.ts"
import * as HttpsFront from "../simulation/http/HttpsFront.ts"
import { keptIdentity, makeIdentity, writeSecretFile } from "../simulation/http/ServerIdentity.ts"
import * as SimulatedApiServer from "../simulation/SimulatedApiServer.ts"
import { keepIn } from "../simulation/StateDirectory.ts"
import { keptWorkloads } from "./demo/KeptWorkloads.ts"
import { failed } from "./Failed.ts"
import { ensureDirectory } from "./Files.ts"

const MAX_PORT = 65_535
/** Where the management cluster listens, stand-in control planes do, too. */
const LOOPBACK = "127.0.0.1"

const flags = {
  kubeconfig: Flag.String("kubeconfig").pipe(
    Flag.withDescription("Write the kubeconfig to this file (mode 0600; a file that is there is replaced)")
  ),
  port: Flag.Int("port").pipe(
    Flag.withDescription("Listen on this port of 127.0.0.1; 0, the default: one that is free"),
    Flag.withDefault(0)
  ),
  state: Flag.String("state").pipe(
    Flag.withDescription("Keep all objects, certificate and token in this directory, and go on from there next time"),
    Flag.optional
  ),
  core: Flag.Boolean("core").pipe(
    Flag.withDescription("Run CAPI's core controllers; --no-core leaves Machines to others"),
    Flag.withDefault(true)
  ),
  json: Flag.Boolean("json").pipe(Flag.withDescription("Say where it serves as one JSON line"), Flag.withDefault(false))
} as const

type Input = Command.Command.Config.Infer<typeof flags>

const crds: ReadonlyArray<JsonObject> = [
  ...ourCrds.map((crd): JsonObject => JSON.parse(JSON.stringify(crd))),
  ...coreCrds,
  ...standInCrds
]

/** How this program was called: in a clone of the project it is on no PATH. */
const self = (): string => (process.env["npm_lifecycle_event"] === "machinist" ? "npm run machinist --" : "machinist")

const told = (path: string, front: HttpsFront.HttpsFront, continued: boolean): string =>
  [
    `${continued ? "The management cluster of the last time is" : "A management cluster is"} served at ${front.url}`,
    "",
    `  export KUBECONFIG=${path}`,
    "  kubectl api-resources --categories=cluster-api",
    "  kubectl explain remotemachine.spec",
    "  kubectl get machines -A --watch",
    "",
    `The provider, in another terminal: ${self()} controller --kubeconfig ${path}`,
    "Ctrl-C ends it."
  ].join("\n")

/** The core, and the clusters of stand-in control planes: the provider is another process, which asks them for tokens. */
const startCoreIn = Effect.fnUntraced(function* (
  server: SimulatedApiServer.SimulatedApiServerShape,
  state: string | undefined
) {
  const front = yield* WorkloadFront.make(LOOPBACK)
  const kept = state === undefined ? {} : yield* keptWorkloads(state)
  yield* startCore(server, yield* SimulatedWorkloads.make({ front, ...kept }))
})

const serve = Effect.fnUntraced(function* (input: Input) {
  const path = yield* Path.Path
  if (input.port < 0 || input.port > MAX_PORT) {
    return yield* failed(`--port takes a number from 0 to ${MAX_PORT}, not ${input.port}`)
  }
  const file = path.resolve(input.kubeconfig)
  const state = Option.map(input.state, (directory) => path.resolve(directory))
  yield* ensureDirectory("kubeconfig", path.dirname(file))
  if (Option.isSome(state)) yield* ensureDirectory("state", state.value, 0o700)
  const server = yield* SimulatedApiServer.make()
  const continued = Option.isSome(state) ? yield* keepIn(server, state.value) : false
  yield* Effect.forEach(crds, server.apply, { discard: true }).pipe(Effect.orDie)
  const identity = yield* Option.isSome(state) ? keptIdentity(state.value) : makeIdentity
  const front = yield* HttpsFront.make({ server, identity, port: input.port })
  if (input.core) yield* startCoreIn(server, Option.getOrUndefined(state))
  yield* writeSecretFile(file, front.kubeconfig).pipe(
    Effect.mapError((error) => failed(`cannot write ${file}: ${error.message}; give another --kubeconfig`, error))
  )
  yield* input.json
    ? Console.log(JSON.stringify({ url: front.url, kubeconfig: file, continued }))
    : Console.log(told(file, front, continued))
  return yield* Effect.never
}, Effect.scoped)

export const simulate = Command.make("simulate", flags, (input) =>
  serve(input).pipe(
    Effect.provide(SecureRandom.layerWebCrypto),
    Effect.catchTags({
      StateError: (error) => Effect.fail(failed(error.message, error)),
      IdentityError: (error) => Effect.fail(failed(error.message, error)),
      FrontError: (error) => Effect.fail(failed(error.message, error))
    })
  )
).pipe(
  Command.withDescription("Serve an embedded management cluster, with CAPI's core, for kubectl and controllers"),
  Command.withExamples([
    { command: "machinist simulate --kubeconfig /tmp/sim.kubeconfig", description: "Until Ctrl-C; nothing is kept" },
    {
      command: "machinist simulate --kubeconfig sim.kubeconfig --state sim --port 6443",
      description: "Kept in ./sim, and at the same address next time"
    }
  ])
)
