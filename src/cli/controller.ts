/**
 * Owns `machinist controller`: the provider against a cluster, with the flags that Cluster API providers have, health
 * endpoints and metrics. Does not own what the provider does (provider/).
 */
import { createServer } from "node:http"
import { hostname } from "node:os"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Config from "effect/Config"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Result from "effect/Result"
import { BOOTSTRAP_TIMEOUT_SECONDS, parseLimit, RunLimits, STEP_TIMEOUT_SECONDS } from "../actors/RunLimits.ts"
import { parseTtl } from "../domain/BootstrapTokens.ts"
import { durationText } from "../domain/Duration.ts"
import * as Lease from "../kube/Lease.ts"
import * as LiveKubeClient from "../kube/LiveKubeClient.ts"
import { WorkloadClusters } from "../kube/WorkloadClusters.ts"
import { HALVES, ProviderOptions } from "../provider/Options.ts"
import * as Provider from "../provider/Provider.ts"
import { type ListenAddress, parseAddress } from "./Address.ts"
import { seconds } from "./Duration.ts"
import { chosenHalves, leaseName, providersFlag } from "./Providers.ts"
import * as SshFlags from "./SshFlags.ts"
import { sshFlags } from "./SshFlags.ts"

/** From this verbosity on, debug lines are logged, as klog's V(4) is by custom. */
const DEBUG_VERBOSITY = 4

/** Whether the watches have synced, or another replica leads and this one stands by. */
interface Readiness {
  ready: boolean
}

const serveHttp = (address: ListenAddress, routes: Layer.Layer<never, never, HttpRouter.HttpRouter>, what: string) =>
  HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(NodeHttpServer.layer(() => createServer(), address)),
    Layer.build,
    Effect.mapError(
      (error) =>
        new CliError.UserError({
          cause: error,
          userMessage: `${what} can't listen on ${address.host}:${address.port}: ${String(error.cause)}. Give another address, or 0 to turn it off.`
        })
    )
  )

const healthRoutes = (readiness: Readiness) =>
  Layer.mergeAll(
    HttpRouter.add("GET", "/healthz", HttpServerResponse.text("ok")),
    HttpRouter.add(
      "GET",
      "/readyz",
      Effect.sync(() =>
        readiness.ready
          ? HttpServerResponse.text("ok")
          : HttpServerResponse.text("the watches have not synced yet", { status: 503 })
      )
    )
  )

const flags = {
  kubeconfig: Flag.String("kubeconfig").pipe(
    Flag.withDescription(
      "Kubeconfig file. Default: $KUBECONFIG, else the service account of the pod, else ~/.kube/config"
    ),
    Flag.optional
  ),
  context: Flag.String("context").pipe(
    Flag.withDescription("Context of the kubeconfig; default: its current one"),
    Flag.optional
  ),
  namespace: Flag.String("namespace").pipe(
    Flag.withDescription("Watch only this namespace; default: all"),
    Flag.withDefault("")
  ),
  watchFilter: Flag.String("watch-filter").pipe(
    Flag.withDescription("Watch only objects whose label cluster.x-k8s.io/watch-filter has this value"),
    Flag.withDefault("")
  ),
  poolProbeInterval: Flag.String("pool-probe-interval").pipe(
    Flag.withDescription("How often a host of a pool that nobody uses is probed; 0 turns it off"),
    Flag.withDefault("10m")
  ),
  leaderElect: Flag.Boolean("leader-elect").pipe(
    Flag.withDescription("Of several replicas only one, the leader, acts; the others stand by"),
    Flag.withDefault(false)
  ),
  leaderNamespace: Flag.String("leader-elect-namespace").pipe(
    Flag.withDescription("Namespace of the Lease; default: $POD_NAMESPACE, else machinist-system"),
    Flag.withFallbackConfig(Config.String("POD_NAMESPACE")),
    Flag.withDefault("machinist-system")
  ),
  providers: providersFlag,
  leaseDuration: Flag.String("leader-elect-lease-duration").pipe(
    Flag.withDescription("A leader that has not renewed for this long can be replaced"),
    Flag.withDefault("15s")
  ),
  renewDeadline: Flag.String("leader-elect-renew-deadline").pipe(
    Flag.withDescription("A leader that could not renew for this long stops"),
    Flag.withDefault("10s")
  ),
  retryPeriod: Flag.String("leader-elect-retry-period").pipe(
    Flag.withDescription("Time between two tries to become leader, or to renew"),
    Flag.withDefault("2s")
  ),
  tokenTtl: Flag.String("bootstrap-token-ttl").pipe(
    Flag.withDescription(
      "How long a join token lives unless it is renewed, which it is while its machine has not joined; 5m to 720h"
    ),
    Flag.withDefault("24h")
  ),
  stepTimeout: Flag.String("step-timeout").pipe(
    Flag.withDescription(
      "How long one step of a bootstrap may take; annotation machinist.dev/step-timeout of a RemoteMachine counts more"
    ),
    Flag.withDefault(durationText(STEP_TIMEOUT_SECONDS))
  ),
  bootstrapTimeout: Flag.String("bootstrap-timeout").pipe(
    Flag.withDescription(
      "How long a whole bootstrap may take; annotation machinist.dev/bootstrap-timeout of a RemoteMachine counts more"
    ),
    Flag.withDefault(durationText(BOOTSTRAP_TIMEOUT_SECONDS))
  ),
  ...sshFlags,
  healthAddr: Flag.String("health-addr").pipe(
    Flag.withDescription("Address of /healthz and /readyz; 0 turns them off"),
    Flag.withDefault(":9440")
  ),
  diagnosticsAddress: Flag.String("diagnostics-address").pipe(
    Flag.withDescription("Address of /metrics (Prometheus); 0 turns it off. Served only with --insecure-diagnostics"),
    Flag.withDefault(":8443")
  ),
  insecureDiagnostics: Flag.Boolean("insecure-diagnostics").pipe(
    Flag.withDescription("Serve /metrics over plain HTTP without authentication"),
    Flag.withDefault(false)
  ),
  verbosity: Flag.Int("verbosity").pipe(
    Flag.withDescription(`Log more; from ${DEBUG_VERBOSITY} on, debug lines too`),
    Flag.withDefault(0)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Log JSON lines; the default where standard output is no terminal"),
    Flag.withDefault(false)
  )
} as const

type Input = Command.Command.Config.Infer<typeof flags>

const lead = Effect.fnUntraced(function* <A, E, R>(input: Input, whileLeader: Effect.Effect<A, E, R>) {
  const { halves = HALVES } = yield* ProviderOptions
  const identity = `${hostname()}_${(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)}`
  const options = {
    namespace: input.leaderNamespace,
    name: leaseName(halves),
    identity,
    leaseDuration: yield* seconds("leader-elect-lease-duration", input.leaseDuration),
    renewDeadline: yield* seconds("leader-elect-renew-deadline", input.renewDeadline),
    retryPeriod: yield* seconds("leader-elect-retry-period", input.retryPeriod)
  }
  return yield* Lease.run(options, whileLeader)
})

const run = Effect.fnUntraced(function* (input: Input) {
  const readiness: Readiness = { ready: input.leaderElect }
  const health = yield* parseAddress("health-addr", input.healthAddr)
  const diagnostics = yield* parseAddress("diagnostics-address", input.diagnosticsAddress)
  if (health !== undefined) yield* serveHttp(health, healthRoutes(readiness), "--health-addr")
  if (diagnostics !== undefined && input.insecureDiagnostics)
    yield* serveHttp(diagnostics, PrometheusMetrics.layerHttp(), "--diagnostics-address")
  const provide = Effect.scoped(
    Effect.gen(function* () {
      yield* Provider.start()
      readiness.ready = true
      yield* Effect.logInfo("provider runs")
      return yield* Effect.never
    })
  )
  return yield* input.leaderElect ? lead(input, provide) : provide
}, Effect.scoped)

/** One line for a person instead of a stack trace. */
const failed = (cause: unknown, userMessage: string) => Effect.fail(new CliError.UserError({ cause, userMessage }))

const optionsOf = Effect.fnUntraced(function* (input: Input): Effect.fn.Return<ProviderOptions, CliError.UserError> {
  const ttl = parseTtl(input.tokenTtl)
  if (Result.isFailure(ttl)) return yield* failed(input.tokenTtl, `--bootstrap-token-ttl ${ttl.failure}`)
  const probes = yield* seconds("pool-probe-interval", input.poolProbeInterval)
  return {
    halves: yield* chosenHalves(input.providers),
    namespace: input.namespace === "" ? undefined : input.namespace,
    watchFilter: input.watchFilter === "" ? undefined : input.watchFilter,
    tokenTtlSeconds: ttl.success,
    poolProbeSeconds: probes === 0 ? undefined : probes
  }
})

const limit = (flag: string, text: string): Effect.Effect<number, CliError.UserError> => {
  const seconds = parseLimit(text)
  return Result.isFailure(seconds) ? failed(text, `--${flag} ${seconds.failure}`) : Effect.succeed(seconds.success)
}

const limitsOf = (input: Input) =>
  Effect.all({
    stepSeconds: limit("step-timeout", input.stepTimeout),
    bootstrapSeconds: limit("bootstrap-timeout", input.bootstrapTimeout)
  })

export const controller = Command.make("controller", flags, (input) => {
  const kube = LiveKubeClient.layerDefault(
    Option.getOrUndefined(input.kubeconfig),
    Option.getOrUndefined(input.context)
  )
  const hosts = SshFlags.layer(input)
  const ports = Layer.mergeAll(kube, hosts, WorkloadClusters.layer, SecureRandom.layerWebCrypto)
  const json = input.json || process.stdout.isTTY !== true
  return run(input).pipe(
    Effect.provide(ports),
    Effect.provideServiceEffect(ProviderOptions, optionsOf(input)),
    Effect.provideServiceEffect(RunLimits, limitsOf(input)),
    Effect.provideService(References.MinimumLogLevel, input.verbosity >= DEBUG_VERBOSITY ? "Debug" : "Info"),
    Effect.provide(json ? Logger.layer([Logger.consoleJson]) : Layer.empty),
    Effect.catchTags({
      KubeError: (error) => failed(error, error.message),
      LeadershipLost: (error) =>
        failed(error, "Leadership was lost; another replica leads now. Start again to stand by.")
    })
  )
}).pipe(
  Command.withDescription("Run the provider against a management cluster"),
  Command.withExamples([
    { command: "machinist controller --kubeconfig ~/.kube/config", description: "From a laptop" },
    { command: "machinist controller --leader-elect", description: "In a pod, one of several replicas" }
  ])
)
