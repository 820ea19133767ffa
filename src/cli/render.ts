/**
 * Owns `machinist render`: the bootstrap data of bootstrap configs in files, without any cluster, as the provider would
 * write it. Flags and output only: the objects are render/Objects.ts', what the files leave open render/Offline.ts', where
 * each part came from render/Explain.ts'.
 */
import * as Console from "effect/Console"
import type * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import {
  type BootstrapConfig,
  type Inputs,
  needsToken,
  payloadOf,
  render as renderData,
  renderers
} from "../actors/BootstrapRenderers.ts"
import { gather } from "../actors/BootstrapSources.ts"
import type { Payload } from "../domain/CloudConfig.ts"
import { type BootstrapToken, decodeJoinToken } from "../domain/JoinToken.ts"
import { failed } from "./Failed.ts"
import { readText } from "./Files.ts"
import { annotate, listed, originsOf } from "./render/Explain.ts"
import { describeObject, type FileObject, parseObjects } from "./render/Objects.ts"
import { type Choices, configsOf, type OfflineConfig, readerOf, surround } from "./render/Offline.ts"

/** Ignition 3.3: every Ignition in use reads it. */
const DEFAULT_IGNITION = { variant: "fcos", version: "1.4.0" } as const

const flags = {
  files: Flag.String("f").pipe(
    Flag.withDescription(
      "YAML or JSON (FILE, or - for standard input) with the configs, and what they refer to: Machines, Clusters, Secrets, ConfigMaps; may be given several times"
    ),
    Flag.atLeast(1)
  ),
  config: Flag.String("config").pipe(
    Flag.withDescription("Name of the one config to render; otherwise all"),
    Flag.optional
  ),
  machine: Flag.String("machine").pipe(
    Flag.withDescription("Name of the Machine it is for; otherwise that of the files, else the config's own"),
    Flag.optional
  ),
  token: Flag.String("token").pipe(
    Flag.withDescription("Bootstrap token ID.SECRET, or a whole join token; otherwise a placeholder"),
    Flag.optional
  ),
  joinAddress: Flag.String("join-address").pipe(
    Flag.withDescription(
      "A controller that runs: K0sControllerConfigs are rendered as joining it, instead of as the first"
    ),
    Flag.optional
  ),
  format: Flag.Literals("format", ["cloud-config", "ignition"]).pipe(
    Flag.withDescription(
      `Instead of what the config says (ignition: ${DEFAULT_IGNITION.variant} ${DEFAULT_IGNITION.version}, where it says nothing)`
    ),
    Flag.optional
  ),
  explain: Flag.Boolean("explain").pipe(
    Flag.withDescription("Say of each file and step where it came from"),
    Flag.withDefault(false)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("A JSON list: the data, and its files and steps with where they came from"),
    Flag.withDefault(false)
  )
} as const

type Input = Command.Command.Config.Infer<typeof flags>

/** As it was given, or nearly: the flag makes it absolute. */
const shown = (path: Path.Path, file: string): string => {
  const relative = path.relative(path.resolve("."), file)
  return relative.startsWith("..") ? file : relative
}

const readObjects = Effect.fnUntraced(function* (files: ReadonlyArray<string>) {
  const pathService = yield* Path.Path
  const found: Array<FileObject> = []
  for (const file of files) {
    const path = file === "-" ? "standard input" : shown(pathService, file)
    const text = yield* readText(file, path)
    found.push(
      ...(yield* Effect.mapError(Effect.fromResult(parseObjects(text, path)), ({ message }) => failed(message)))
    )
  }
  return found
})

const PLACEHOLDER_TOKEN: BootstrapToken = { id: "000000", secret: "placeholder00000" }
const TOKEN = /^([a-z0-9]{6})\.([a-z0-9]{16})$/

interface Given {
  readonly token: BootstrapToken
  /** Of a whole join token. */
  readonly where?: { readonly server: string; readonly ca: string }
}

const tokenOf = (text: Option.Option<string>): Effect.Effect<Given | undefined, CliError.UserError> => {
  if (Option.isNone(text)) return Effect.succeed(undefined)
  const [, id, secret] = TOKEN.exec(text.value) ?? []
  if (id !== undefined && secret !== undefined) return Effect.succeed({ token: { id, secret } })
  const join = decodeJoinToken(text.value.trim())
  return Result.isSuccess(join)
    ? Effect.succeed({ token: join.success.token, where: { server: join.success.server, ca: join.success.ca } })
    : Effect.fail(failed("--token takes ID.SECRET (six and sixteen of a-z and 0-9), or a join token as k0s makes them"))
}

/** What a whole join token says of the cluster is believed before the files. */
const joiningAt = (inputs: Inputs, where: Given["where"]): Inputs => {
  if (where === undefined) return inputs
  const { ca, server } = where
  if (inputs.role === "worker") return { ...inputs, ca, server }
  return inputs.join.as === "first" ? inputs : { ...inputs, ca, join: { as: "joining", server } }
}

const inFormat = (config: BootstrapConfig, format: Option.Option<"cloud-config" | "ignition">): BootstrapConfig => {
  if (Option.isNone(format) || config.spec === undefined) return config
  const { ignition, ...spec } = config.spec
  return { ...config, spec: format.value === "ignition" ? { ...spec, ignition: ignition ?? DEFAULT_IGNITION } : spec }
}

interface Made {
  readonly one: OfflineConfig
  readonly config: BootstrapConfig
  readonly machine: string | undefined
  readonly payload: Payload
  readonly format: string
  readonly text: string
  readonly placeholders: ReadonlyArray<string>
}

/** Through the provider's own gathering, so that the same things are refused in the same words. */
const make = Effect.fnUntraced(
  function* (
    one: OfflineConfig,
    objects: ReadonlyArray<FileObject>,
    choices: Choices,
    given: Given | undefined,
    format: Input["format"]
  ) {
    const surrounded = yield* Effect.fromResult(surround(one, objects, choices))
    const config = inFormat(one.config, format)
    const { refusal, role } = renderers[one.kind]
    const refused = refusal(config)
    if (refused !== undefined) return yield* Effect.fail(refused)
    const { inputs: found } = yield* gather(readerOf(surrounded.objects), role, config, surrounded.around)
    const inputs = joiningAt(found, given?.where)
    const token = given?.token ?? PLACEHOLDER_TOKEN
    const payload = yield* Effect.fromResult(payloadOf(config, inputs, token))
    const { format: made, value } = yield* Effect.fromResult(renderData(config, inputs, token))
    const placeholders = [
      ...surrounded.placeholders,
      ...(given === undefined && needsToken(inputs) ? ["the join token is a placeholder: --token gives one"] : [])
    ]
    const result: Made = {
      one,
      config,
      machine: inputs.machineName,
      payload,
      format: made,
      text: Buffer.from(value).toString("utf8"),
      placeholders
    }
    return result
  },
  (effect, one) =>
    effect.pipe(
      Effect.scoped,
      // A file's own errors name it already.
      Effect.mapError((error) =>
        failed(
          "_tag" in error && error._tag === "FileError"
            ? error.message
            : `${describeObject(one.source)}: ${error.message}`
        )
      )
    )
)

const asJson = ({ config, format, machine, one, payload, placeholders, text }: Made) => {
  const origins = originsOf(config, payload)
  return {
    file: one.source.origin,
    kind: one.source.kind,
    namespace: one.source.namespace,
    name: one.source.name,
    ...(machine === undefined ? {} : { machine }),
    format,
    bytes: Buffer.byteLength(text),
    placeholders,
    files: payload.files.map(({ content, mode, path }, index) => ({
      path,
      mode,
      bytes: content.length,
      from: origins.files[index]
    })),
    steps: payload.steps.map(({ name, script }, index) => ({ name, from: origins.steps[index], script })),
    data: text
  }
}

const asText = ({ config, format, payload, text }: Made, isExplained: boolean): string => {
  if (!isExplained) return text
  const origins = originsOf(config, payload)
  return format === "cloud-config" ? annotate(text, origins) : listed(payload, origins)
}

const chosen = (configs: ReadonlyArray<OfflineConfig>, name: string | undefined) => {
  const found = name === undefined ? configs : configs.filter(({ source }) => source.name === name)
  if (found.length > 0) return Effect.succeed(found)
  const names = configs.map(({ source }) => source.name).join(", ")
  return Effect.fail(
    failed(
      name === undefined || configs.length === 0
        ? "no K0sWorkerConfig, K0sWorkerConfigTemplate or K0sControllerConfig in the files"
        : `no config named ${name} in the files; there is: ${names}`
    )
  )
}

const run = Effect.fnUntraced(function* (input: Input) {
  const objects = yield* readObjects(input.files)
  const given = yield* tokenOf(input.token)
  const all = yield* Effect.mapError(Effect.fromResult(configsOf(objects)), ({ message }) => failed(message))
  const configs = yield* chosen(all, Option.getOrUndefined(input.config))
  const choices: Choices = {
    machine: Option.getOrUndefined(input.machine),
    joinAddress: Option.getOrUndefined(input.joinAddress)
  }
  const made = yield* Effect.forEach(configs, (one) => make(one, objects, choices, given, input.format))
  if (input.json) return yield* Console.log(JSON.stringify(made.map(asJson), null, 2))
  for (const one of made) {
    for (const placeholder of one.placeholders)
      yield* Console.error(`${describeObject(one.one.source)}: ${placeholder}`)
    if (made.length > 1) yield* Console.log(`--- ${describeObject(one.one.source)}`)
    yield* Console.log(asText(one, input.explain).trimEnd())
  }
})

export const render = Command.make("render", flags, run).pipe(
  Command.withDescription("Print the bootstrap data of configs in files, without any cluster"),
  Command.withExamples([
    { command: "machinist render -f worker.yaml", description: "With placeholders for what the file leaves open" },
    { command: "machinist render -f worker.yaml -f secrets.yaml --explain", description: "Where each part came from" },
    {
      command: "machinist render -f worker.yaml --token abcdef.0123456789abcdef --format ignition",
      description: "As Ignition, with a token"
    }
  ])
)
