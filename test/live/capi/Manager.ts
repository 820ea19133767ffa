/**
 * Owns Cluster API's own core manager as a process beside a real API server: its CRDs and webhooks installed, called by URL
 * with a CA of the test's, and the manager at work until the scope closes. Getting the program is scripts/build-capi.sh's.
 */
import { spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import * as Yaml from "yaml"
import type { JsonObject, KubeClientShape } from "../../../src/kube/KubeClient.ts"
import type { KubeError } from "../../../src/kube/KubeError.ts"
import { rawKind } from "../../../src/simulation/core/Raw.ts"
import * as Certificates from "../../../src/simulation/core/standins/Certificates.ts"
import { type ApiServer, installCrd } from "../apiserver/ApiServer.ts"
import {
  freePorts,
  type Running,
  scopedProcess,
  scriptOutput,
  startProcess,
  temporaryDirectory,
  waitReady
} from "../apiserver/Processes.ts"

const SCRIPT = fileURLToPath(new URL("../../../scripts/build-capi.sh", import.meta.url))

/** As ApiServer's: why the suites are skipped, if they are. Building is left to `start`. */
export const unavailable: string | undefined = (() => {
  if (spawnSync(SCRIPT, ["--check"], { stdio: "ignore" }).status === 0) return undefined
  if (spawnSync("go", ["version"], { stdio: "ignore" }).status === 0) return undefined
  return "suites on Cluster API's own manager skipped: it is not built, and there is no Go to build it with"
})()
export const available = unavailable === undefined
if (unavailable !== undefined) console.warn(unavailable)

/** Programs and manifests, built when they are not there yet. */
export const directory: Effect.Effect<string, Error> = scriptOutput(SCRIPT)

export interface Manager {
  readonly log: () => string
  readonly isRunning: () => boolean
}

/** What there is before the manager runs: where it will answer, and with which certificate. */
export interface Prepared {
  readonly webhooks: WebhookServer
  /** Of the module: CRDs and webhooks as they are published. */
  readonly config: string
  readonly program: string
  readonly certificates: string
  readonly healthPort: number
}

interface WebhookServer {
  readonly url: string
  /** PEM, base64. */
  readonly caBundle: string
}

const Document = Schema.Record(Schema.String, Schema.Json)
type Document = typeof Document.Type

/** Every object of a YAML file. */
export const documents = (path: string): Effect.Effect<ReadonlyArray<Document>, Error> =>
  Effect.forEach(
    Yaml.parseAllDocuments(readFileSync(path, "utf8")).filter((document) => document.contents !== null),
    (document) =>
      Schema.decodeUnknownEffect(Document)(document.toJS()).pipe(
        Effect.mapError((cause) => new Error(`${path}: not a YAML mapping`, { cause }))
      )
  )

const ServiceWebhook = Schema.StructWithRest(
  Schema.Struct({
    clientConfig: Schema.Struct({ service: Schema.Struct({ path: Schema.String }) })
  }),
  [Schema.Record(Schema.String, Schema.Json)]
)
const WebhookConfiguration = Schema.Struct({
  kind: Schema.Literals(["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]),
  metadata: Schema.Struct({ name: Schema.String }),
  webhooks: Schema.Array(ServiceWebhook)
})

const webhookKind = (kind: string) =>
  rawKind({
    group: "admissionregistration.k8s.io",
    kind,
    plural: `${kind.toLowerCase()}s`,
    versions: ["v1"],
    namespaced: false
  })

/** There is no Service network here: what the manifests address by Service is called by URL. */
export const webhookConfigurations = ({
  config,
  webhooks: server
}: Prepared): Effect.Effect<
  ReadonlyArray<JsonObject & { readonly kind: string; readonly metadata: JsonObject }>,
  Error
> =>
  Effect.gen(function* () {
    const found = yield* documents(join(config, "webhook", "manifests.yaml"))
    return yield* Effect.forEach(found, (document) =>
      Schema.decodeUnknownEffect(WebhookConfiguration)(document).pipe(
        Effect.map(({ kind, metadata, webhooks }) => ({
          kind,
          metadata: { name: `capi-${metadata.name}` },
          webhooks: webhooks.map(({ clientConfig, ...rest }) => ({
            ...rest,
            clientConfig: { url: `${server.url}${clientConfig.service.path}`, caBundle: server.caBundle }
          }))
        })),
        Effect.mapError((cause) => new Error("not what webhook manifests look like", { cause }))
      )
    )
  })

const Crd = Schema.Struct({
  metadata: Schema.StructWithRest(Schema.Struct({ name: Schema.String }), [Document]),
  spec: Document
})

/** CAPI's definitions, converted between API versions by the manager. */
export const crds = ({ config, webhooks: server }: Prepared) =>
  Effect.gen(function* () {
    const bases = join(config, "crd", "bases")
    const conversion = {
      strategy: "Webhook",
      webhook: {
        conversionReviewVersions: ["v1"],
        clientConfig: { url: `${server.url}/convert`, caBundle: server.caBundle }
      }
    }
    const files = readdirSync(bases).sort()
    const found = yield* Effect.forEach(files, (file) => documents(join(bases, file)))
    return yield* Effect.forEach(found.flat(), (document) =>
      Schema.decodeUnknownEffect(Crd)(document).pipe(
        Effect.map(({ metadata, spec }) => ({ metadata, spec: { ...spec, conversion } })),
        Effect.mapError((cause) => new Error("not a CustomResourceDefinition", { cause }))
      )
    )
  })

/** A certificate for loopback in the directory, and the CA that signed it. */
const certificate = Effect.fnUntraced(function* (dir: string) {
  const now = yield* Clock.currentTimeMillis
  const seed = () => randomBytes(Certificates.KEY_SEED_BYTES)
  const ca = Certificates.selfSigned("webhook-ca", seed(), now)
  const signer = { commonName: "webhook-ca", privateKey: ca.privateKey }
  const { certificate, privateKey } = Certificates.serverCertificate(signer, "127.0.0.1", seed(), now)
  mkdirSync(dir)
  writeFileSync(join(dir, "tls.crt"), certificate)
  writeFileSync(join(dir, "tls.key"), privateKey, { mode: 0o600 })
  return Buffer.from(ca.certificate).toString("base64")
})

const flags = (certificates: string, webhookPort: string, healthPort: number): ReadonlyArray<string> => [
  `--webhook-port=${webhookPort}`,
  `--webhook-cert-dir=${certificates}`,
  `--health-addr=127.0.0.1:${healthPort}`,
  "--diagnostics-address=127.0.0.1:0",
  "--insecure-diagnostics",
  "--leader-elect=false"
]

export const prepare: Effect.Effect<Prepared, Error, Scope> = Effect.gen(function* () {
  const capi = yield* directory
  const dir = yield* temporaryDirectory
  const [webhookPort = 0, healthPort = 0] = yield* freePorts(2)
  const certificates = join(dir, "certificates")
  const webhooks = { url: `https://127.0.0.1:${webhookPort}`, caBundle: yield* certificate(certificates) }
  return { webhooks, config: join(capi, "config"), program: join(capi, "manager"), certificates, healthPort }
})

/** At work, its definitions being there, until the scope closes. */
export const run = Effect.fnUntraced(function* (
  server: ApiServer,
  { certificates, healthPort, program, webhooks }: Prepared
): Effect.fn.Return<Manager, Error, Scope> {
  const { port } = new URL(webhooks.url)
  const manager: { readonly current: Running } = yield* scopedProcess(() =>
    startProcess(program, flags(certificates, port, healthPort), { KUBECONFIG: server.kubeconfigPath })
  )
  yield* waitReady(manager.current, `http://127.0.0.1:${healthPort}`, "", "/readyz")
  return { log: manager.current.output, isRunning: () => !manager.current.exited() }
})

/** All of it, by the API alone. `others` are definitions to install after its own. */
export const start = Effect.fnUntraced(function* (
  server: ApiServer,
  kube: KubeClientShape,
  others: Effect.Effect<unknown, Error | KubeError> = Effect.void
): Effect.fn.Return<Manager, Error | KubeError, Scope> {
  const prepared = yield* prepare
  yield* Effect.forEach(yield* crds(prepared), (crd) => installCrd(kube, crd), { discard: true })
  yield* others
  const manager = yield* run(server, prepared)
  // Not before it answers: until then every write would be refused.
  for (const configuration of yield* webhookConfigurations(prepared))
    yield* kube.create(webhookKind(configuration.kind), configuration)
  return manager
})
