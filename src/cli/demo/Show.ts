/**
 * Owns when a demo is shown and where: a live screen on a terminal, a line for each change where there is none, JSON lines
 * when asked. Does not own what a frame looks like (Screen.ts).
 */

import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Demo } from "../../simulation/demo/Engine.ts"
import type { MachinePicture } from "../../simulation/demo/Picture.ts"
import { redraw } from "./Redraw.ts"
import { frameText, stateOf } from "./Screen.ts"

/** Between two frames, or two looks for changed lines. */
const FRAME = "100 millis"
const WIDTH = 100
const HEIGHT = 40

export type Manner = "screen" | "lines" | "json"

export interface ShowOptions {
  readonly demo: Demo
  readonly manner: Manner
  readonly title: string
  readonly startedMillis: number
}

export interface Show {
  /** Put below the machines on a screen, or printed once. */
  readonly say: (lines: ReadonlyArray<string>) => Effect.Effect<void>
  /** The last frame stays; nothing is drawn any more. */
  readonly end: Effect.Effect<void>
}

const lineOf = (machine: MachinePicture, seconds: number): string =>
  `${seconds.toFixed(1).padStart(6)}s  ${stateOf(machine).padEnd(12)} ${machine.namespace}/${machine.name}${machine.host === "" ? "" : `  ${machine.host}`}`

const jsonOf = (machine: MachinePicture, seconds: number): string =>
  JSON.stringify({
    seconds: Math.round(seconds * 10) / 10,
    namespace: machine.namespace,
    machine: machine.name,
    state: stateOf(machine),
    ...(machine.host === "" ? {} : { host: machine.host })
  })

const screen = Effect.fnUntraced(function* (options: ShowOptions): Effect.fn.Return<Show, never, Scope.Scope> {
  const terminal = redraw(process.stdout)
  let footer: ReadonlyArray<string> = []
  let tick = 0
  let ended = false
  const draw = Effect.gen(function* () {
    if (ended) return
    const now = yield* Clock.currentTimeMillis
    tick += 1
    const { columns = WIDTH, rows = HEIGHT } = process.stdout
    terminal.draw(
      frameText({
        picture: options.demo.picture(),
        seconds: (now - options.startedMillis) / 1000,
        hosts: options.demo.farm.about,
        title: options.title,
        footer,
        columns,
        rows,
        tick,
        colours: process.env["NO_COLOR"] === undefined
      })
    )
  })
  const end = Effect.andThen(
    draw,
    Effect.sync(() => {
      if (!ended) terminal.done()
      ended = true
    })
  )
  yield* Effect.addFinalizer(() => end)
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(draw, Effect.sleep(FRAME))))
  return {
    say: (lines) =>
      Effect.andThen(
        Effect.sync(() => {
          footer = lines
        }),
        draw
      ),
    end
  }
})

const lines = Effect.fnUntraced(function* (options: ShowOptions): Effect.fn.Return<Show, never, Scope.Scope> {
  const isJson = options.manner === "json"
  const seen = new Map<string, string>()
  const tell = Effect.gen(function* () {
    const seconds = ((yield* Clock.currentTimeMillis) - options.startedMillis) / 1000
    for (const machine of options.demo.picture().machines) {
      const key = `${machine.namespace}/${machine.name}`
      const state = stateOf(machine)
      if (seen.get(key) === state) continue
      seen.set(key, state)
      yield* Console.log(isJson ? jsonOf(machine, seconds) : lineOf(machine, seconds))
    }
  })
  if (!isJson) yield* Console.log(`${options.title} on ${options.demo.farm.about}`)
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(tell, Effect.sleep(FRAME))))
  return {
    say: (text) =>
      isJson
        ? tell
        : Effect.andThen(
            tell,
            Effect.forEach(text, (line) => Console.log(line), { discard: true })
          ),
    end: tell
  }
})

/** Shows until the scope ends. */
export const show = (options: ShowOptions): Effect.Effect<Show, never, Scope.Scope> =>
  options.manner === "screen" ? screen(options) : lines(options)
