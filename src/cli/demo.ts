/**
 * Owns `machinist demo`: its flags, and what it suggests to try. Does not own what it does with them (demo/Session.ts).
 */

import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { STALLED_SECONDS } from "../simulation/demo/Engine.ts"
import { seconds } from "./Duration.ts"
import { chooseHosts } from "./demo/Hosts.ts"
import { keepInDirectory } from "./demo/Kept.ts"
import { readFiles, runSession } from "./demo/Session.ts"
import { failed } from "./Failed.ts"

const MAX_MACHINES = 10_000
const MACHINES = 6

export const once = Flag.Boolean("once").pipe(
  Flag.withDescription("End when every machine runs, instead of serving until Ctrl-C"),
  Flag.withDefault(false)
)
export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("JSON lines; the last one is the report"),
  Flag.withDefault(false)
)
export const verbose = Flag.Boolean("verbose").pipe(
  Flag.withDescription("The provider's log on standard error; no live screen"),
  Flag.withDefault(false)
)
export const timeout = Flag.String("timeout").pipe(
  Flag.withDescription(
    `With --once or --delete: give up when nothing has changed for so long, and say what was waited for (default ${STALLED_SECONDS}s)`
  ),
  Flag.withDefault(`${STALLED_SECONDS}s`)
)
export const advertiseAddress = Flag.String("advertise-address").pipe(
  Flag.withDescription(
    "With real hosts: the address or name by which they reach this machine. Default: the one it reaches the first host from"
  ),
  Flag.optional
)

const flags = {
  machines: Flag.Int("machines").pipe(
    Flag.withDescription(`Hosts of the pool, and replicas of the MachineDeployment on it (default ${MACHINES})`),
    Flag.withDefault(MACHINES)
  ),
  once,
  timeout,
  json,
  remove: Flag.Boolean("delete").pipe(
    Flag.withDescription("With --once: delete everything again, and verify that every host is clean"),
    Flag.withDefault(false)
  ),
  files: Flag.String("f").pipe(
    Flag.withDescription(
      "Your YAML instead of the examples (FILE, or - for standard input); may be given several times"
    ),
    Flag.atLeast(0)
  ),
  hosts: Flag.String("hosts").pipe(
    Flag.withDescription(
      "sh: a real /bin/sh each, in a root of its own; memory: hosts in memory; FILE: a YAML list of your own hosts (docs/real-hosts.md). Default: sh where this machine allows it"
    ),
    Flag.withDefault("")
  ),
  advertiseAddress,
  state: Flag.String("state").pipe(
    Flag.withDescription("Keep clusters and hosts in this directory, and go on from there next time"),
    Flag.optional
  ),
  verbose
} as const

type Input = Command.Command.Config.Infer<typeof flags>

export const tryWithFiles: ReadonlyArray<string> = [
  "  kubectl get machines,remotemachines,pooledremotemachines -A",
  "  kubectl get events -A --watch",
  "  kubectl delete machines -A --all --wait=false                              # watch the hosts being cleaned"
]

const tryWithExamples: ReadonlyArray<string> = [
  "  kubectl get machines,remotemachines,pooledremotemachines -A",
  "  kubectl -n pooled-workers scale machinedeployment workers --replicas 3     # watch three hosts being cleaned",
  "  kubectl -n sudo describe remotemachine remote-test-0                       # its story, as Events"
]

const tryThese = (kubeconfig: string, isExamples: boolean, isKept: boolean): ReadonlyArray<string> => [
  "This is a cluster that kubectl can talk to. In another terminal:",
  `  export KUBECONFIG=${kubeconfig}`,
  ...(isExamples ? tryWithExamples : tryWithFiles),
  isKept
    ? "Ctrl-C ends the demo; the same command goes on from there."
    : "Ctrl-C ends the demo; nothing of it is left then."
]

const check = Effect.fnUntraced(function* (input: Input) {
  if (input.machines < 0 || input.machines > MAX_MACHINES)
    return yield* failed(`--machines takes a number from 0 to ${MAX_MACHINES}, not ${input.machines}`)
  if (input.remove && !input.once) return yield* failed("--delete needs --once: without it, delete with kubectl")
})

const run = Effect.fnUntraced(function* (input: Input) {
  yield* check(input)
  const files = input.files.length === 0 ? undefined : yield* readFiles(input.files)
  const kept = Option.isSome(input.state) ? yield* keepInDirectory(input.state.value) : undefined
  const hosts = yield* chooseHosts(input.hosts, kept?.hosts)
  const { json, once, verbose } = input
  const stalledSeconds = yield* seconds("timeout", input.timeout)
  return yield* runSession({
    title: files === undefined ? `Machinist: every example, and ${input.machines} pooled workers` : "Machinist",
    machines: input.machines,
    files,
    hosts,
    advertiseAddress: Option.getOrUndefined(input.advertiseAddress),
    kept,
    once,
    stalledSeconds,
    remove: input.remove ? "afterwards" : "no",
    json,
    verbose,
    tryThese: (kubeconfig) => tryThese(kubeconfig, files === undefined, kept !== undefined)
  })
})

export const demo = Command.make("demo", flags, run).pipe(
  Command.withDescription("A management cluster, hosts and the provider in one process: watch machines come up"),
  Command.withExamples([
    { command: "machinist demo", description: "Watch, then try things with kubectl" },
    { command: "machinist demo --once --json --delete --machines 200", description: "For a script" },
    { command: "machinist demo -f mine.yaml", description: "Your own YAML on stand-in hosts" },
    { command: "machinist demo --hosts hosts.yaml --machines 2", description: "The examples on hosts of your own" }
  ])
)
