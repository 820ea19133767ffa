/**
 * Owns what a step does on a simulated host without a shell: behaviours scripted by a test, the steps of our own
 * bootstrap and cleaning recognised by name (`# step: NAME`), scripts of a few known commands (MiniShell), and success
 * for everything else. Does not own when a step runs, nor its record (Driver).
 */
import * as Effect from "effect/Effect"
import type { RunStep } from "../../hosts/Protocol.ts"
import { SENTINEL } from "../../hosts/Protocol.ts"
import type { DiskError } from "./Disk.ts"
import { K0S_DATA, type K0s, SERVICES } from "./K0s.ts"
import { interpret, parse } from "./MiniShell.ts"
import type { StepContext } from "./StepContext.ts"
import { type Millis, pass } from "./Time.ts"

/** What a scripted step does, in this order. Everything is optional; nothing at all is an immediate success. */
export interface StepBehaviour {
  readonly duration?: Millis
  /** Never ends by itself. */
  readonly hang?: boolean
  /** Paths that appear. */
  readonly creates?: ReadonlyArray<string>
  /** Paths that go. */
  readonly removes?: ReadonlyArray<string>
  /** Daemons that stay behind, tagged with the claim as the real environment would be. */
  readonly daemons?: ReadonlyArray<string>
  /** Anything else: reads the disk, calls a simulated cluster. */
  readonly effect?: (context: StepContext) => Effect.Effect<void>
  readonly stderr?: string
  /** Absent: 0. */
  readonly exitCode?: number
  /** After all that, and if it went well, the step does what it would have done without this script. */
  readonly goesOn?: boolean
  /** Only the first `times` executions behave so; then the next match, or the default, counts. */
  readonly times?: number
}

/** By name (exactly, as in the step or its `# step:` line), by pattern over the name, or by anything. */
export type StepMatcher = string | RegExp | ((step: RunStep, index: number) => boolean)

export type StepRunner = (context: StepContext) => Effect.Effect<number>

export interface StepRunnerOptions {
  /** Time a step takes that nothing else says anything about. */
  readonly stepDuration: Millis
  readonly k0s: K0s
}

export interface ScriptedSteps {
  readonly run: StepRunner
  readonly script: (matcher: StepMatcher, behaviour: StepBehaviour) => void
}

const NAMES = /^# step: (.+)$/gm

/** Names of a step: the one the request gives, and those its script carries (several when run as one script). */
export const namesOf = (step: RunStep): ReadonlyArray<string> => [
  step.name,
  ...[...step.script.matchAll(NAMES)].flatMap(([, name]) =>
    name === undefined || name === step.name ? [] : [name.trim()]
  )
]

const orNoSpace = (context: StepContext, effect: Effect.Effect<number, DiskError>): Effect.Effect<number> =>
  effect.pipe(
    Effect.catchTag("DiskError", (error) =>
      Effect.sync(() => {
        context.stderr(`${error.detail}\n`)
        return 1
      })
    )
  )

const behave = (context: StepContext, behaviour: StepBehaviour): Effect.Effect<number> =>
  orNoSpace(
    context,
    Effect.gen(function* () {
      const { disk } = context.kernel
      if (behaviour.duration !== undefined) yield* pass(behaviour.duration)
      if (behaviour.hang === true) yield* Effect.never
      for (const path of behaviour.creates ?? []) yield* disk.write(path, "", { via: "step", claim: context.claim })
      for (const path of behaviour.removes ?? []) disk.remove(path)
      for (const comm of behaviour.daemons ?? []) {
        yield* context.kernel.spawn(
          { comm, role: "daemon", claim: context.claim, step: `${context.verb}.${context.index}` },
          () => Effect.never
        )
      }
      if (behaviour.effect !== undefined) yield* behaviour.effect(context)
      if (behaviour.stderr !== undefined) context.stderr(behaviour.stderr)
      return behaviour.exitCode ?? 0
    })
  )

const unquote = (text: string): string => text.replaceAll(/["']/g, "")
const joinLines = (script: string): string => script.replaceAll(/\\\n/g, " ")

/** Where the script puts k0s. */
const k0sPath = (script: string): string => {
  const text = unquote(script)
  const dir = /K0S_INSTALL_PATH=(\S+)/.exec(text)?.[1] ?? /^dir=(\S+)/m.exec(text)?.[1]
  return dir === undefined ? (/(\/[\w./-]+\/k0s)\b/.exec(text)?.[1] ?? "/usr/local/bin/k0s") : `${dir}/k0s`
}

/** The words behind `k0s install`, as far as they are no shell. */
const install = (context: StepContext, script: string): Effect.Effect<number, DiskError> => {
  const line = /k0s['"]? install ((?:worker|controller)[^\n]*)/.exec(joinLines(script))?.[1] ?? "worker"
  const words = unquote(line)
    .split(/\s+/)
    .filter((word) => word !== "" && !word.startsWith("$"))
  // Our own script forces when the service that is there was installed for the same machine.
  const label = words.find((word) => word.includes("machine-name="))
  const again = label !== undefined && SERVICES.some((path) => context.kernel.disk.readText(path)?.includes(label))
  return context.k0s(["install", ...words, ...(again && !words.includes("--force") ? ["--force"] : [])])
}

/** As our own script does: without its binary k0s can't reset, and a binary that the bootstrap fetched goes too. */
const reset = Effect.fnUntraced(function* (context: StepContext, script: string): Effect.fn.Return<number, DiskError> {
  const { disk } = context.kernel
  const path = /^k0s=(\S+)/m.exec(unquote(script))?.[1]
  if (path !== undefined && !disk.exists(path)) {
    if (disk.exists(K0S_DATA)) {
      context.stderr(`${path} is gone and ${K0S_DATA} is not: k0s can't reset it\n`)
      return 1
    }
    for (const service of SERVICES) disk.remove(service)
    return 0
  }
  const code = yield* context.k0s(["reset"])
  if (code === 0 && path !== undefined && script.includes('rm -f "$k0s"')) disk.remove(path)
  return code
})

const NAMED: Readonly<
  Record<string, (context: StepContext, script: string, k0s: K0s) => Effect.Effect<number, DiskError>>
> = {
  "download k0s": (context, script) =>
    Effect.as(
      context.kernel.disk.write(k0sPath(script), "stand-in k0s\n", { via: "step", claim: context.claim, mode: "0755" }),
      0
    ),
  "install k0s": install,
  "start k0s": (context) => context.k0s(["start"]),
  "wait for k0s": (context, _, k0s) =>
    Effect.map(k0s.waitUntilAdmitted, (admitted) => {
      if (!admitted) context.stderr("k0s did not register the node in time\n")
      return admitted ? 0 : 1
    }),
  "wait for node": () => Effect.succeed(0),
  "link kubeconfig": () => Effect.succeed(0),
  "mark success": (context) =>
    Effect.as(context.kernel.disk.write(SENTINEL, "success\n", { via: "step", claim: context.claim }), 0),
  "leave etcd": (context) =>
    SERVICES.some((path) => path.includes("k0scontroller") && context.kernel.disk.exists(path))
      ? context.k0s(["etcd", "leave"])
      : Effect.succeed(0),
  "stop k0s": (context) => context.k0s(["stop"]),
  "reset k0s": reset
}

const makesSentinel = (script: string): boolean =>
  script.includes(SENTINEL) && /\b(touch|echo|printf|install)\b|>\s*['"]?\/run\/cluster-api/.test(script)

/** `commandsAsScript` ends each command's here-document with this, underscores added when it occurs in one. */
const END_OF_PART = /\nEND_OF_STEP_*\n[\s\S]*$/

/** Splits a script that carries several `# step:` lines into them, for `commandsAsScript`. */
const sections = (step: RunStep): ReadonlyArray<{ readonly name: string; readonly text: string }> => {
  const marks = [...step.script.matchAll(NAMES)]
  if (marks.length < 2) return [{ name: namesOf(step).find((name) => name in NAMED) ?? step.name, text: step.script }]
  // The first mark names the whole; what stands before the second is the frame around the commands.
  return marks.slice(1).map((mark, i) => ({
    name: (mark[1] ?? "").trim(),
    text: step.script.slice(mark.index, marks[i + 2]?.index).replace(END_OF_PART, "\n")
  }))
}

export const makeStepRunner = (options: StepRunnerOptions): ScriptedSteps => {
  const scripted: Array<{ readonly matcher: StepMatcher; readonly behaviour: StepBehaviour; left: number }> = []
  const matches = (matcher: StepMatcher, step: RunStep, index: number): boolean =>
    typeof matcher === "function"
      ? matcher(step, index)
      : namesOf(step).some((name) => (typeof matcher === "string" ? name === matcher : matcher.test(name)))
  const section = Effect.fnUntraced(function* (
    context: StepContext,
    { name, text }: { readonly name: string; readonly text: string }
  ): Effect.fn.Return<number, DiskError> {
    const named = NAMED[name]
    if (named !== undefined) {
      yield* pass(options.stepDuration)
      return yield* named(context, text, options.k0s)
    }
    const script = parse(text)
    if (script !== undefined) return yield* interpret(context, script)
    yield* pass(options.stepDuration)
    if (makesSentinel(text)) {
      yield* context.kernel.disk.write(SENTINEL, "success\n", { via: "step", claim: context.claim })
    }
    return 0
  })
  const usual: StepRunner = (context) =>
    orNoSpace(
      context,
      Effect.gen(function* () {
        for (const part of sections(context.step)) {
          const code = yield* section(context, part)
          if (code !== 0) return code
        }
        return 0
      })
    )
  const run: StepRunner = (context) =>
    Effect.suspend(() => {
      const found = scripted.find(({ left, matcher }) => left > 0 && matches(matcher, context.step, context.index))
      if (found === undefined) return usual(context)
      found.left -= 1
      const behaved = behave(context, found.behaviour)
      return found.behaviour.goesOn === true
        ? Effect.flatMap(behaved, (code) => (code === 0 ? usual(context) : Effect.succeed(code)))
        : behaved
    })
  return {
    run,
    script: (matcher, behaviour) => {
      // The latest word counts first.
      scripted.unshift({ matcher, behaviour, left: behaviour.times ?? Number.POSITIVE_INFINITY })
    }
  }
}
