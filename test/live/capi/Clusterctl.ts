/**
 * Owns clusterctl as people run it: a local repository with our generated components and CAPI's core, and its commands.
 * Core's components are the published CRDs and webhooks, by URL instead of by Service; its Deployment is left out, as the
 * manager runs beside the server. cert-manager, which nothing here needs, is there by name only.
 */
import { execFile } from "node:child_process"
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Yaml from "yaml"
import packageJson from "../../../package.json" with { type: "json" }
import type { KubeClientShape } from "../../../src/kube/KubeClient.ts"
import { type ApiServer, installCrd } from "../apiserver/ApiServer.ts"
import { temporaryDirectory } from "../apiserver/Processes.ts"
import * as Manager from "./Manager.ts"

const MANIFESTS = fileURLToPath(new URL("../../../manifests", import.meta.url))
/** For one command; a move waits longest, for what is not ready to be moved. */
const COMMAND_TIMEOUT_MILLIS = 300_000

export const VERSION = `v${packageJson.version}`

export interface Clusterctl {
  /** Standard output; fails with what it said when it ends otherwise than well. */
  readonly run: (...args: ReadonlyArray<string>) => Effect.Effect<string, Error>
}

const coreComponents = Effect.fnUntraced(function* (prepared: Manager.Prepared) {
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "capi-system" } }
  const crds = (yield* Manager.crds(prepared)).map((crd) => ({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    ...crd
  }))
  const webhooks = (yield* Manager.webhookConfigurations(prepared)).map((one) => ({
    apiVersion: "admissionregistration.k8s.io/v1",
    ...one
  }))
  return [namespace, ...crds, ...webhooks].map((one) => Yaml.stringify(one)).join("---\n")
})

/** `<root>/<provider>/<version>/<file>`, as clusterctl's local repositories are laid out. */
const writeRepository = Effect.fnUntraced(function* (root: string, capi: string, prepared: Manager.Prepared) {
  const capiVersion = capi.replace(/^.*capi-/, "")
  const core = join(root, "cluster-api", capiVersion)
  mkdirSync(core, { recursive: true })
  writeFileSync(join(core, "core-components.yaml"), yield* coreComponents(prepared))
  const [major, minor] = capiVersion.slice(1).split(".").map(Number)
  writeFileSync(
    join(core, "metadata.yaml"),
    Yaml.stringify({
      apiVersion: "clusterctl.cluster.x-k8s.io/v1alpha3",
      kind: "Metadata",
      releaseSeries: [{ major, minor, contract: "v1beta2" }]
    })
  )
  const providers = [
    { name: "cluster-api", type: "CoreProvider", url: `file://${core}/core-components.yaml` },
    ...(["infrastructure", "bootstrap"] as const).map((half) => {
      const directory = join(root, `${half}-machinist`, VERSION)
      mkdirSync(directory, { recursive: true })
      for (const file of [`${half}-components.yaml`, "metadata.yaml"]) {
        cpSync(join(MANIFESTS, file), join(directory, file))
      }
      const type = half === "infrastructure" ? "InfrastructureProvider" : "BootstrapProvider"
      return { name: "machinist", type, url: `file://${directory}/${half}-components.yaml` }
    })
  ]
  const config = join(root, "clusterctl.yaml")
  writeFileSync(config, Yaml.stringify({ providers }))
  return config
})

const command = (program: string, config: string, home: string) => {
  const run: Clusterctl["run"] = (...args) =>
    Effect.callback((resume) => {
      const child = execFile(
        program,
        ["--config", config, ...args],
        {
          encoding: "utf8",
          timeout: COMMAND_TIMEOUT_MILLIS,
          maxBuffer: 16 * 1024 * 1024,
          env: { PATH: process.env["PATH"], HOME: home, XDG_CONFIG_HOME: home, CLUSTERCTL_DISABLE_VERSIONCHECK: "true" }
        },
        (error, stdout, stderr) =>
          resume(
            error === null
              ? Effect.succeed(stdout + stderr)
              : Effect.fail(new Error(`clusterctl ${args.join(" ")}: ${stdout}${stderr}`, { cause: error }))
          )
      )
      return Effect.sync(() => child.kill())
    })
  return run
}

export const make = Effect.fnUntraced(function* (prepared: Manager.Prepared) {
  const capi = yield* Manager.directory
  const root = yield* temporaryDirectory
  const config = yield* writeRepository(root, capi, prepared)
  return { run: command(join(capi, "clusterctl"), config, root) } satisfies Clusterctl
})

/** clusterctl asks for one Issuer and one Certificate, and is content when they can be made. */
const certManagerCrds = ["Issuer", "Certificate"].map((kind) => ({
  metadata: { name: `${kind.toLowerCase()}s.cert-manager.io` },
  spec: {
    group: "cert-manager.io",
    scope: "Namespaced",
    names: { kind, plural: `${kind.toLowerCase()}s`, singular: kind.toLowerCase(), listKind: `${kind}List` },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } }
      }
    ]
  }
}))

/** Core and both halves of our provider, as `clusterctl init` installs them. */
export const init = Effect.fnUntraced(function* (clusterctl: Clusterctl, server: ApiServer, kube: KubeClientShape) {
  yield* Effect.forEach(certManagerCrds, (crd) => installCrd(kube, crd), { discard: true })
  const providers = ["--infrastructure", "machinist", "--bootstrap", "machinist", "--control-plane", "-"]
  return yield* clusterctl.run("init", "--kubeconfig", server.kubeconfigPath, ...providers)
})

/** What the generated file of one half says its Deployment runs. */
export const deployedArguments = (half: "infrastructure" | "bootstrap"): ReadonlyArray<string> => {
  const text = readFileSync(join(MANIFESTS, `${half}-components.yaml`), "utf8")
  const documents = Yaml.parseAllDocuments(text).map((document) => document.toJS())
  const deployment = documents.find((one) => one?.kind === "Deployment")
  const args: ReadonlyArray<string> = deployment.spec.template.spec.containers[0].args
  // Of clusterctl the defaults; what the container's own environment gives is empty.
  return args.map((one) => one.replaceAll(/\$\{\w+:=([^}]*)\}/g, "$1").replaceAll(/\$\(\w+\)/g, ""))
}
