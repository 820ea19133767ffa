/**
 * Owns what the hosts' own witness says, as facts: the lines that the stand-ins and steps of a host write, who holds it by
 * the record on its disk, and what was left when that was given back. Reads no word of the provider.
 */
import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import { makeWitness, type Witness } from "../Witness.ts"
import type { Namespace } from "./Namespace.ts"

const TENANCY = "/var/lib/machinist/tenancy"
const RESIDUE = "sh /usr/local/lib/machinist-test/residue"
const NANOS_PER_MILLI = 1_000_000n
/** Of a record that says nobody holds the host any more. */
const FREE = "free"

interface Seen {
  readonly namespace: Namespace
  readonly log: string
  read: number
  claim: string
  state: string
}

export interface Observer {
  readonly witness: Witness
  readonly follow: (namespace: Namespace, log: string) => void
  /** Looks at a host again: after each command there. */
  readonly look: (name: string) => Effect.Effect<void>
}

const readText = (path: string): string => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    // Not written yet, or the host is gone.
    return ""
  }
}

const field = (record: string, key: string): string => new RegExp(`^${key} (.*)$`, "m").exec(record)?.[1] ?? ""

const residueOf = (namespace: Namespace): Effect.Effect<ReadonlyArray<string>> =>
  Effect.callback<ReadonlyArray<string>>((resume) => {
    const child = namespace.enter(RESIDUE, 0)
    let text = ""
    child.stdin.on("error", () => undefined)
    child.stdin.end()
    child.stdout.on("data", (data: Buffer) => {
      text += data.toString()
    })
    child.once("error", () => resume(Effect.succeed([])))
    child.once("close", () => resume(Effect.succeed(text.split("\n").filter((line) => line !== ""))))
  })

/** The journal goes last, after the tombstone: whoever looks in between sees it on its way out. */
const JOURNAL = "/var/lib/machinist/runs/"
const JOURNAL_LOOKS = 50
const JOURNAL_PAUSE = "100 millis"

/** What is left once the journal had its time to go. */
const settledResidue = Effect.fnUntraced(function* (namespace: Namespace) {
  let found = yield* residueOf(namespace)
  for (let look = 1; look < JOURNAL_LOOKS && found.some((line) => line.startsWith(JOURNAL)); look++) {
    yield* Effect.sleep(JOURNAL_PAUSE)
    found = yield* residueOf(namespace)
  }
  return found
})

const stepFact = (what: string, words: ReadonlyArray<string>) => {
  const [tag = "", pid = "0", code = "0"] = words
  const parts = tag.split(".")
  const identity = {
    claim: parts[0] ?? "",
    verb: parts[1] === "clean" ? ("clean" as const) : ("run" as const),
    step: Number(parts[2] ?? 0),
    machine: "",
    attempt: 1,
    name: `step ${parts[2] ?? ""}`,
    pid: Number(pid)
  }
  return what === "step-began"
    ? ({ _tag: "StepBegan", alongside: [], ...identity } as const)
    : ({ _tag: "StepEnded", code: Number(code), ...identity } as const)
}

export const makeObserver = (): Observer => {
  const witness = makeWitness()
  const hosts = new Map<string, Seen>()

  const readLog = (seen: Seen): void => {
    const text = readText(seen.log)
    const whole = text.slice(seen.read, text.lastIndexOf("\n") + 1)
    seen.read += whole.length
    for (const line of whole.split("\n")) {
      const [at = "0", , what = "", args = ""] = line.split("\t")
      if (what !== "step-began" && what !== "step-ended") continue
      witness.tellUnsafe(seen.namespace.name, Number(BigInt(at) / NANOS_PER_MILLI), stepFact(what, args.split(" ")))
    }
  }

  return {
    witness,
    follow: (namespace, log) => void hosts.set(namespace.name, { namespace, log, read: 0, claim: "", state: "" }),
    look: Effect.fnUntraced(function* (name) {
      const seen = hosts.get(name)
      if (seen === undefined) return
      const record = readText(seen.namespace.path(TENANCY))
      const claim = field(record, "claim")
      // Beside it, in a record of one size, is what boot it is of.
      const [state = ""] = field(record, "state").split(" ")
      const isChanged = claim !== "" && (claim !== seen.claim || state !== seen.state)
      const wasHeld = seen.claim === claim && seen.state !== FREE && seen.state !== ""
      if (isChanged) {
        seen.claim = claim
        seen.state = state
      }
      // Whoever came first: its steps are of its tenancy, and before its end.
      if (isChanged && !wasHeld)
        yield* witness.tell(name, {
          _tag: "Tenant",
          claim,
          machine: field(record, "machine"),
          cluster: field(record, "cluster"),
          fence: Number(field(record, "fence")),
          residue: [],
          alongside: []
        })
      readLog(seen)
      if (isChanged && state === FREE)
        yield* witness.tell(name, { _tag: "Wiped", claim, residue: yield* settledResidue(seen.namespace) })
    })
  }
}
