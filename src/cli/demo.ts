/**
 * Owns `machinist demo`: its flags, the management cluster served to kubectl, and what is said at the end. Does not own
 * what happens (simulation/demo), nor how it looks (demo/).
 */

import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as References from "effect/References"
import * as Engine from "../simulation/demo/Engine.ts"
import { type Manifest, parseManifests } from "../simulation/demo/Manifests.ts"
import * as HttpsFront from "../simulation/http/HttpsFront.ts"
import { keptIdentity, writeSecretFile } from "../simulation/http/ServerIdentity.ts"
import { chooseFarm } from "./demo/Hosts.ts"
import { type Kept, keepInDirectory } from "./demo/Kept.ts"
import { type Manner, show } from "./demo/Show.ts"

const MAX_MACHINES = 10_000

const flags = {
  machines: Flag.Int("machines").pipe(
    Flag.withDescription("Hosts of the pool, and replicas of the MachineDeployment on it"),
    Flag.withDefault(6)
  ),
  once: Flag.Boolean("once").pipe(
    Flag.withDescription("End when every machine runs, instead of serving until Ctrl-C"),
    Flag.withDefault(false)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("JSON lines; the last one is the report"),
    Flag.withDefault(false)
  ),
  remove: Flag.Boolean("delete").pipe(
    Flag.withDescription("With --once: delete everything again, and verify that every host is clean"),
    Flag.withDefault(false)
  ),
  files: Flag.File("f", { mustExist: true }).pipe(
    Flag.withDescription("Your YAML instead of the examples; may be given several times"),
    Flag.atLeast(0)
  ),
  hosts: Flag.String("hosts").pipe(
    Flag.withDescription(
      "sh: a real /bin/sh each, in a root of its own; memory: hosts in memory. Default: sh where this machine allows it"
    ),
    Flag.withDefault("")
  ),
  state: Flag.String("state").pipe(
    Flag.withDescription("Keep clusters and hosts in this directory, and go on from there next time"),
    Flag.optional
  ),
  verbose: Flag.Boolean("verbose").pipe(
    Flag.withDescription("The provider's log on standard error; no live screen"),
    Flag.withDefault(false)
  )
} as const

type Input = Command.Command.Config.Infer<typeof flags>

const failed = (userMessage: string) => new CliError.UserError({ cause: userMessage, userMessage })

const readFiles = Effect.fnUntraced(function* (paths: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const found: Array<Manifest> = []
  for (const path of paths) {
    const text = yield* fs.readFileString(path).pipe(Effect.mapError((error) => failed(`${path}: ${error.message}`)))
    const manifests = yield* Effect.fromResult(parseManifests(text, path)).pipe(
      Effect.mapError((error) => failed(error.message))
    )
    found.push(...manifests)
  }
  return found
})

/** The cluster for kubectl; the file with the way in goes with the scope. */
const serve = Effect.fnUntraced(function* (demo: Engine.Demo, kept: Kept | undefined) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const identity = kept === undefined ? undefined : yield* keptIdentity(kept.identity)
  const front = yield* HttpsFront.make({ server: demo.server, identity })
  if (kept !== undefined) {
    yield* writeSecretFile(kept.kubeconfig, front.kubeconfig)
    return kept.kubeconfig
  }
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "machinist-demo-" })
  const kubeconfig = path.join(directory, "kubeconfig")
  yield* writeSecretFile(kubeconfig, front.kubeconfig)
  return kubeconfig
})

const tryThese = (kubeconfig: string, isExamples: boolean, isKept: boolean): ReadonlyArray<string> => [
  "This is a cluster that kubectl can talk to. In another terminal:",
  `  export KUBECONFIG=${kubeconfig}`,
  ...(isExamples
    ? [
        "  kubectl get machines,remotemachines,pooledremotemachines -A",
        "  kubectl -n pooled-workers scale machinedeployment workers --replicas 3     # watch three hosts being cleaned",
        "  kubectl -n sudo describe remotemachine remote-test-0                       # its story, as Events"
      ]
    : [
        "  kubectl get machines,remotemachines,pooledremotemachines -A",
        "  kubectl get events -A --watch",
        "  kubectl delete machines -A --all --wait=false                              # watch the hosts being cleaned"
      ]),
  isKept
    ? "Ctrl-C ends the demo; the same command goes on from there."
    : "Ctrl-C ends the demo; nothing of it is left then."
]

const check = Effect.fnUntraced(function* (input: Input) {
  if (input.machines < 0 || input.machines > MAX_MACHINES)
    return yield* failed(`--machines takes a number from 0 to ${MAX_MACHINES}, not ${input.machines}`)
  if (input.remove && !input.once) return yield* failed("--delete needs --once: without it, delete with kubectl")
})

const mannerOf = (input: Input): Manner =>
  input.json ? "json" : process.stdout.isTTY === true && !input.verbose ? "screen" : "lines"

const asUserError = (error: { readonly message: string; readonly details?: ReadonlyArray<string> }) =>
  failed([error.message, ...(error.details ?? []).map((detail) => `  ${detail}`)].join("\n"))

const conclude = Effect.fnUntraced(function* (input: Input, demo: Engine.Demo) {
  const report = yield* demo.report
  if (input.json) yield* Console.log(JSON.stringify(report))
  else {
    const { deleted, dirtyHosts, doubleClaims, machines, running, seconds, stepsRunTwice } = report
    yield* Console.log(
      `${running} of ${machines} machines ran after ${seconds} s. By the hosts' own account: ${doubleClaims} double claims, ${stepsRunTwice} steps run twice, ${dirtyHosts} dirty hosts.${input.remove ? ` ${deleted} machines deleted.` : ""}`
    )
  }
  if (Engine.isGood(report, input.remove)) return
  return yield* failed(["Not all is as it should be.", ...demo.objections()].join("\n"))
})

/** That everything runs; a screen shows it anyway. */
const told = (manner: Manner, report: Engine.Report, kubeconfig: string) => {
  switch (manner) {
    case "json":
      return Console.log(JSON.stringify({ ...report, kubeconfig }))
    case "lines":
      return Console.log(`${report.running} of ${report.machines} machines run after ${report.seconds} s.`)
    case "screen":
      return Effect.void
  }
}

const run = Effect.fnUntraced(function* (input: Input) {
  yield* check(input)
  const startedMillis = yield* Clock.currentTimeMillis
  const files = input.files.length === 0 ? undefined : yield* readFiles(input.files)
  const kept = Option.isSome(input.state) ? yield* keepInDirectory(input.state.value) : undefined
  const farm = yield* chooseFarm(input.hosts, kept?.hosts)
  const keep = kept === undefined ? {} : { keep: kept.keep }
  const demo = yield* Engine.start({ machines: input.machines, files, farm, ...keep })
  const title = files === undefined ? `Machinist: every example, and ${input.machines} pooled workers` : "Machinist"
  const manner = mannerOf(input)
  const screen = yield* show({ demo, manner, title, startedMillis })
  yield* demo.apply.pipe(Effect.mapError(asUserError))
  if (input.once) {
    yield* demo.ready.pipe(Effect.mapError(asUserError))
    if (input.remove) yield* demo.remove.pipe(Effect.mapError(asUserError))
    yield* screen.end
    return yield* conclude(input, demo)
  }
  const kubeconfig = yield* serve(demo, kept).pipe(Effect.mapError(asUserError))
  const isExamples = files === undefined
  // Not waited for with a bound: what a person applies may be waiting for that person.
  yield* demo.ready.pipe(
    Effect.andThen(demo.report),
    Effect.flatMap((report) => told(manner, report, kubeconfig)),
    Effect.ignore,
    Effect.forkScoped
  )
  if (input.json) yield* Console.log(JSON.stringify({ kubeconfig }))
  yield* screen.say(tryThese(kubeconfig, isExamples, kept !== undefined))
  return yield* Effect.never
}, Effect.scoped)

export const demo = Command.make("demo", flags, (input) =>
  run(input).pipe(
    Effect.provide(SecureRandom.layerWebCrypto),
    Effect.provide(input.verbose ? Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)]) : Logger.layer([])),
    Effect.provideService(References.MinimumLogLevel, input.verbose ? "Debug" : "Error")
  )
).pipe(
  Command.withDescription("A management cluster, hosts and the provider in one process: watch machines come up"),
  Command.withExamples([
    { command: "machinist demo", description: "Watch, then try things with kubectl" },
    { command: "machinist demo --once --json --delete --machines 200", description: "For a script" },
    { command: "machinist demo -f mine.yaml", description: "Your own YAML on stand-in hosts" }
  ])
)
