/**
 * Owns how a run is told to people: who did what when, one line each, from the witness, the states that actors entered,
 * and the write log. For replayed seeds and golden stories. Judges nothing.
 */
import { stringAt } from "./apiserver/Json.ts"
import type { WriteRecord } from "./apiserver/WriteLog.ts"
import type { Version } from "./History.ts"
import type { Entered } from "./Processes.ts"
import { makeWitness, type WitnessEntry } from "./Witness.ts"
import type { World } from "./World.ts"

/** What of a world is told. */
export interface Tellable extends Pick<World, "history" | "server" | "witness"> {
  readonly entered: ReadonlyArray<Entered>
}

export interface Line {
  readonly at: number
  readonly text: string
}

const short = (claim: string): string => claim.slice(0, 6)

const witnessed = (entry: WitnessEntry): string | undefined => {
  switch (entry._tag) {
    case "StepBegan":
      return `${entry.verb} step ${entry.step + 1} (${entry.name}) begins for ${entry.machine}, attempt ${entry.attempt}`
    case "StepEnded":
      return `${entry.verb} step ${entry.step + 1} (${entry.name}) ends with ${entry.code}`
    case "StepInterrupted":
      return `${entry.verb} step ${entry.step + 1} (${entry.name}) is cut off`
    case "StepUnrecorded":
      return `${entry.verb} step ${entry.step + 1} (${entry.name}) ended unrecorded`
    case "Tenant":
      return `tenant ${entry.machine}, claim ${short(entry.claim)}, fence ${entry.fence}`
    case "Wiped":
      return `wiped after claim ${short(entry.claim)}${entry.residue.length > 0 ? `, but has ${entry.residue}` : ""}`
    case "Booted":
      return "boots"
    case "Reimaged":
      return "has a fresh disk"
    case "Note":
      return entry.text
  }
}

/** A state in few words. */
export const stateText = ({ state }: Pick<Entered, "state">): string => {
  const { phase, halted } = state
  const stop = halted === undefined ? "" : ` (${halted})`
  switch (phase._tag) {
    case "Pending": {
      const why = phase.waiting.map((one) => ("reason" in one ? one.reason : one.on)).join(", ")
      return `Pending${phase.deleting ? ", deleting" : why === "" ? "" : `, waits: ${why}`}${stop}`
    }
    case "Claimed": {
      const leaving = phase.leaving === "no" ? "" : `, leaves: ${phase.leaving}`
      const failed = phase.failure === undefined ? "" : `, ${phase.failure.reason}`
      return `Claimed ${phase.claim.host === "" ? "its own host" : phase.claim.host} (claim ${short(phase.claim.id)})${phase.failures > 0 ? `, ${phase.failures} failures` : ""}${failed}${leaving}${stop}`
    }
    case "Provisioning": {
      const step = phase.progress === undefined ? "" : `, step ${phase.progress.step}/${phase.progress.of}`
      const failed =
        phase.failure === undefined
          ? ""
          : `, ${phase.failure.reason}${phase.failure.retry === "backoff" ? "" : " (waits for a change)"}`
      const work = phase.work === "clean" ? ", cleans first" : ""
      return `Provisioning, fence ${phase.run.fence}, try ${phase.stepAttempt}${step}${failed}${work}${stop}`
    }
    case "Ready":
      return `Ready${stop}`
    case "Cleaning": {
      const failed = phase.failure === undefined ? "" : `, ${phase.failure.reason}`
      return `Cleaning (${phase.work}), try ${phase.tries}${failed}${stop}`
    }
    case "Deleted":
      return "Deleted"
  }
}

const written = (write: WriteRecord): string => {
  const what = `${write.verb} ${write.kind}${write.subresource === undefined ? "" : "/status"} ${write.name}`
  return write.outcome === "changed"
    ? what
    : `${what}: ${write.outcome}${write.reason === undefined ? "" : ` (${write.reason})`}`
}

/** Of a Kubernetes Event, its first time; repetitions only count up. */
const toldTo = (event: Version["object"]): string =>
  `Event on ${stringAt(event, "involvedObject", "name")}: ${stringAt(event, "type")} ${stringAt(event, "reason")}: ${stringAt(event, "message")}`

const seconds = (at: number): string => `${(at / 1000).toFixed(3).padStart(9)} s`

/** `done`: what people and fate did. Lines of one moment keep the order: deeds, states, writes, hosts. */
export const linesOf = (world: Tellable, done: ReadonlyArray<Line> = []): ReadonlyArray<Line> => {
  const lines: Array<Line> = [
    ...done.map(({ at, text }) => ({ at, text: `---- ${text}` })),
    ...world.entered.map((one) => ({ at: one.at, text: `${one.process}: ${one.machine} ${stateText(one)}` })),
    ...world.server
      .writes()
      .filter(({ kind }) => kind !== "CustomResourceDefinition" && kind !== "Event")
      .map((write) => ({ at: write.timeMillis, text: `${write.client}: ${written(write)}` })),
    ...world.history
      .versions()
      .flatMap(({ at, kind, object, type }) =>
        kind === "Event" && type === "Added" ? [{ at, text: toldTo(object) }] : []
      ),
    ...world.witness.entries().flatMap((entry) => {
      const text = witnessed(entry)
      return text === undefined ? [] : [{ at: entry.at, text: `${entry.host}: ${text}` }]
    })
  ]
  return lines.sort((a, b) => a.at - b.at)
}

const textOf = ({ at, text }: Line): string => `${seconds(at)}  ${text}`

export const storyOf = (world: Tellable, done: ReadonlyArray<Line> = []): ReadonlyArray<string> =>
  linesOf(world, done).map(textOf)

/** Of several management clusters that share their hosts, and so the witness. */
export const storyOfAll = (worlds: ReadonlyArray<Tellable>, done: ReadonlyArray<Line>): ReadonlyArray<string> => {
  const nobody = makeWitness()
  return worlds
    .flatMap((world, index) => linesOf(index === 0 ? world : { ...world, witness: nobody }, index === 0 ? done : []))
    .sort((a, b) => a.at - b.at)
    .map(textOf)
}
