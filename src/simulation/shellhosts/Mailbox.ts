/**
 * Owns how the stand-in k0s of a shell host asks to be let into a simulated workload cluster: files in a directory that
 * both see. Does not own the answer (K0sWorld).
 */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { K0sWorld } from "../hosts/K0s.ts"

const LOOK = "25 millis"
const QUESTION = ".ask"

/** `host.number.ask` -> host. */
const hostOf = (file: string): string => file.slice(0, file.lastIndexOf(".", file.length - QUESTION.length - 1))

/** The flags of `k0s worker`, quoted one by one there. */
const unquoted = (text: string): string => text.replaceAll(/'([^']*)'/g, "$1")

const answer = Effect.fnUntraced(function* (directory: string, file: string, k0s: K0sWorld) {
  const path = join(directory, file)
  const [what = "", role = "", args = "", authority = "", ...token] = readFileSync(path, "utf8").split("\n")
  rmSync(path, { force: true })
  const host = hostOf(file)
  const text = token.join("\n").trim()
  const isIn =
    what === "stopped"
      ? yield* Effect.as(k0s.stopped(host), true)
      : what === "left"
        ? yield* k0s.left(host)
        : yield* k0s.started({
            host,
            role: role === "controller" ? "controller" : "worker",
            token: text === "" ? undefined : text,
            authority: authority === "" ? undefined : Buffer.from(authority, "base64").toString("utf8"),
            arguments: unquoted(args),
            claim: ""
          })
  const reply = `${path.slice(0, -QUESTION.length)}.answer`
  writeFileSync(`${reply}.new`, isIn ? "yes\n" : "no\n")
  renameSync(`${reply}.new`, reply)
})

/** Answers until the scope ends. */
export const serveMailbox = Effect.fnUntraced(function* (
  directory: string,
  k0s: K0sWorld
): Effect.fn.Return<void, never, Scope.Scope> {
  const answering = yield* FiberMap.make<string>()
  const look = Effect.gen(function* () {
    for (const file of readdirSync(directory))
      if (file.endsWith(QUESTION))
        yield* FiberMap.run(answering, file, answer(directory, file, k0s), { onlyIfMissing: true })
  })
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(LOOK)))
})
