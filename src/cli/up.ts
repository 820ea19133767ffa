/**
 * Owns `machinist up`: a user's YAML on a user's hosts, from a laptop, with a management cluster that lives in a directory
 * between two runs. Its flags only: the rest is the demo's (demo/Session.ts).
 */

import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { seconds } from "./Duration.ts"
import { realHosts } from "./demo/Hosts.ts"
import { keepInDirectory } from "./demo/Kept.ts"
import { readFiles, runSession } from "./demo/Session.ts"
import { advertiseAddress, json, once, timeout, tryWithFiles, verbose } from "./demo.ts"

const flags = {
  files: Flag.String("f").pipe(
    Flag.withDescription("What there shall be: Clusters, machines, pools, as YAML; may be given several times"),
    Flag.atLeast(1)
  ),
  hosts: Flag.File("hosts", { mustExist: true }).pipe(
    Flag.withDescription(
      "YAML list of your hosts: address, port, user, useSudo, identityFile, jumpHosts, … (docs/real-hosts.md)"
    )
  ),
  state: Flag.String("state").pipe(
    Flag.withDescription("The management cluster's directory: made the first time, gone on from every other time")
  ),
  remove: Flag.Boolean("delete").pipe(
    Flag.withDescription("Delete everything that there is, verify that every host is clean, and end"),
    Flag.withDefault(false)
  ),
  once,
  timeout,
  json,
  advertiseAddress,
  verbose
} as const

type Input = Command.Command.Config.Infer<typeof flags>

const tryThese = (kubeconfig: string): ReadonlyArray<string> => [
  "The management cluster is this process; kubectl can talk to it. In another terminal:",
  `  export KUBECONFIG=${kubeconfig}`,
  ...tryWithFiles,
  "Ctrl-C leaves machines and hosts as they are; the same command goes on from there, with --delete it takes all away."
]

const run = Effect.fnUntraced(function* (input: Input) {
  const files = yield* readFiles(input.files)
  const hosts = yield* realHosts(input.hosts)
  const kept = yield* keepInDirectory(input.state)
  const { json, once, verbose } = input
  const stalledSeconds = yield* seconds("timeout", input.timeout)
  return yield* runSession({
    title: "Machinist",
    machines: 0,
    files,
    hosts,
    advertiseAddress: Option.getOrUndefined(input.advertiseAddress),
    kept,
    once,
    stalledSeconds,
    remove: input.remove ? "only" : "no",
    json,
    verbose,
    tryThese
  })
})

export const up = Command.make("up", flags, run).pipe(
  Command.withDescription(
    "Your YAML on your own hosts, from this machine: management cluster and provider in one process"
  ),
  Command.withExamples([
    { command: "machinist up -f cluster.yaml --hosts hosts.yaml --state ./state", description: "Until Ctrl-C" },
    { command: "machinist up -f cluster.yaml --hosts hosts.yaml --state ./state --once", description: "For a script" },
    {
      command: "machinist up -f cluster.yaml --hosts hosts.yaml --state ./state --delete",
      description: "Take it all away, and verify that the hosts are clean"
    }
  ])
)
