/**
 * Owns what `machinist demo` and `machinist up` do alike: the engine on the chosen hosts, the management cluster served to
 * kubectl, what is shown meanwhile and said at the end. Does not own flags (demo.ts, up.ts), what happens (simulation/demo),
 * nor how it looks.
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Logger from "effect/Logger"
import * as Path from "effect/Path"
import * as References from "effect/References"
import * as WorkloadFront from "../../simulation/core/WorkloadFront.ts"
import * as Engine from "../../simulation/demo/Engine.ts"
import { type Manifest, parseManifests } from "../../simulation/demo/Manifests.ts"
import * as HttpsFront from "../../simulation/http/HttpsFront.ts"
import { keptIdentity, writeSecretFile } from "../../simulation/http/ServerIdentity.ts"
import { failed } from "../Failed.ts"
import { readText } from "../Files.ts"
import { addressTowards, type Hosts } from "./Hosts.ts"
import type { Kept } from "./Kept.ts"
import { type Manner, show } from "./Show.ts"

export interface Session {
  readonly title: string
  /** Of the pool; of the examples. */
  readonly machines: number
  /** Instead of the examples. */
  readonly files: ReadonlyArray<Manifest> | undefined
  readonly hosts: Hosts
  /** By which real hosts reach this machine; undefined: found out. */
  readonly advertiseAddress: string | undefined
  readonly kept: Kept | undefined
  /** End when everything runs. */
  readonly once: boolean
  /** For so long nothing may change before it is given up on. */
  readonly stalledSeconds: number
  /** `afterwards`: once everything ran; `only`: nothing is applied, what is there goes. */
  readonly remove: "no" | "afterwards" | "only"
  readonly json: boolean
  readonly verbose: boolean
  /** Said once it serves. */
  readonly tryThese: (kubeconfig: string) => ReadonlyArray<string>
}

export const readFiles = Effect.fnUntraced(function* (paths: ReadonlyArray<string>) {
  const found: Array<Manifest> = []
  for (const path of paths) {
    const manifests = yield* Effect.fromResult(parseManifests(yield* readText(path), path)).pipe(
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

const mannerOf = ({ json, verbose }: Session): Manner =>
  json ? "json" : process.stdout.isTTY === true && !verbose ? "screen" : "lines"

const asUserError = (error: { readonly message: string; readonly details?: ReadonlyArray<string> }) =>
  failed([error.message, ...(error.details ?? []).map((detail) => `  ${detail}`)].join("\n"))

const sentence = (report: Engine.Report, isRemoved: boolean): string => {
  const { deleted, dirtyHosts, doubleClaims, machines, running, seconds, stepsRunTwice } = report
  const ran = `${running} of ${machines} machines ran after ${seconds} s.`
  const told =
    doubleClaims === null
      ? isRemoved
        ? ` Looked at afterwards: ${dirtyHosts} dirty hosts.`
        : ""
      : ` By the hosts' own account: ${doubleClaims} double claims, ${stepsRunTwice} steps run twice, ${dirtyHosts} dirty hosts.`
  return `${ran}${told}${isRemoved ? ` ${deleted} machines deleted.` : ""}`
}

/** A script reads the last line, however it ended. */
const orReport =
  (session: Session, demo: Engine.Demo) =>
  <A, E extends { readonly message: string; readonly details?: ReadonlyArray<string> }, R>(
    work: Effect.Effect<A, E, R>
  ) =>
    work.pipe(
      Effect.tapError(() =>
        session.json ? Effect.flatMap(demo.report, (report) => Console.log(JSON.stringify(report))) : Effect.void
      ),
      Effect.mapError(asUserError)
    )

const conclude = Effect.fnUntraced(function* (session: Session, demo: Engine.Demo) {
  const report = yield* demo.report
  const isRemoved = session.remove !== "no"
  if (session.json) yield* Console.log(JSON.stringify(report))
  else yield* Console.log(sentence(report, isRemoved))
  // What is taken away half way need not have run.
  const good = session.remove === "only" ? report.dirtyHosts === 0 : Engine.isGood(report, isRemoved)
  if (good) return
  return yield* failed(["Not all is as it should be.", ...(yield* demo.objections)].join("\n"))
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

const frontOf = Effect.fnUntraced(function* ({ advertiseAddress, hosts }: Session) {
  const [first] = hosts.real
  if (first === undefined) return {}
  return { front: yield* WorkloadFront.make(advertiseAddress ?? (yield* addressTowards(first))) }
})

const session = Effect.fnUntraced(function* (input: Session) {
  const startedMillis = yield* Clock.currentTimeMillis
  const { files, hosts, kept, machines, title } = input
  const demo = yield* Engine.start({
    machines,
    files,
    farm: hosts.make,
    stalledSeconds: input.stalledSeconds,
    ...(yield* frontOf(input)),
    ...(kept === undefined ? {} : { keep: kept.keep })
  })
  const manner = mannerOf(input)
  const screen = yield* show({ demo, manner, title, startedMillis })
  if (input.remove !== "only") yield* demo.apply.pipe(Effect.mapError(asUserError))
  if (input.once || input.remove === "only") {
    if (input.remove !== "only") yield* demo.ready.pipe(orReport(input, demo))
    if (input.remove !== "no") yield* demo.remove.pipe(orReport(input, demo))
    yield* screen.end
    return yield* conclude(input, demo)
  }
  const kubeconfig = yield* serve(demo, kept).pipe(Effect.mapError(asUserError))
  // Not waited for with a bound: what a person applies may be waiting for that person.
  yield* demo.ready.pipe(
    Effect.andThen(demo.report),
    Effect.flatMap((report) => told(manner, report, kubeconfig)),
    Effect.ignore,
    Effect.forkScoped
  )
  if (input.json) yield* Console.log(JSON.stringify({ kubeconfig }))
  yield* screen.say(input.tryThese(kubeconfig))
  return yield* Effect.never
}, Effect.scoped)

/** Until it is over, or somebody ends it. */
export const runSession = (input: Session) =>
  session(input).pipe(
    Effect.provide(SecureRandom.layerWebCrypto),
    Effect.provide(input.verbose ? Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)]) : Logger.layer([])),
    Effect.provideService(References.MinimumLogLevel, input.verbose ? "Debug" : "Error")
  )
