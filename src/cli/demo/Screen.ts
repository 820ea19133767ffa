/**
 * Owns how a demo looks on a terminal: one frame as text, from a picture and a width and height. Pure. Does not own when it
 * is drawn (Show.ts), nor what it shows (simulation/demo/Picture.ts).
 */
import { styleText } from "node:util"
import type { MachinePicture, Picture, PoolPicture } from "../../simulation/demo/Picture.ts"
import { totals } from "../../simulation/demo/Picture.ts"

export interface Frame {
  readonly picture: Picture
  readonly seconds: number
  readonly hosts: string
  readonly title: string
  /** Said below everything: what can be done now. */
  readonly footer: ReadonlyArray<string>
  readonly columns: number
  readonly rows: number
  /** Counts up with each frame, for what turns. */
  readonly tick: number
  /** False: no colours. */
  readonly colours: boolean
}

const SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
/** Characters of the small bar of a machine. */
const SMALL_BAR = 14
/** Hosts of a pool that are drawn one by one. */
const MAX_BLOCKS = 60
/** Lines a frame needs besides machines and pools. */
const FRAME_LINES = 9

type Style = Parameters<typeof styleText>[0]
type Paint = (style: Style, text: string) => string

const painter = (colours: boolean): Paint =>
  colours ? (style, text) => styleText(style, text, { validateStream: false }) : (_, text) => text

/** Cut or filled to just this width. */
const sized = (text: string, width: number): string =>
  text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text.padEnd(width)

export const bar = (share: number, width: number): readonly [string, string] => {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width)
  return ["━".repeat(full), "─".repeat(width - full)]
}

const paintedBar = (paint: Paint, share: number, width: number, style: Style): string => {
  const [full, rest] = bar(share, width)
  return paint(style, full) + paint("gray", rest)
}

const PHASES: Readonly<Record<string, { readonly style: Style; readonly block: string }>> = {
  Free: { style: "gray", block: "□" },
  Reserved: { style: "green", block: "■" },
  Suspect: { style: "yellow", block: "?" },
  Quarantined: { style: "red", block: "!" },
  Orphaned: { style: "yellow", block: "~" },
  Maintenance: { style: "blue", block: "m" },
  Refused: { style: "red", block: "x" }
}
const UNKNOWN = { style: "gray", block: "·" } as const

const poolLine = (paint: Paint, pool: PoolPicture): string => {
  const phases = [...pool.phases]
  const blocks =
    pool.hosts > MAX_BLOCKS
      ? ""
      : `${phases.map(([phase, count]) => paint((PHASES[phase] ?? UNKNOWN).style, (PHASES[phase] ?? UNKNOWN).block.repeat(count))).join("")}  `
  const words = phases.map(([phase, count]) => `${count} ${phase.toLowerCase()}`).join(", ")
  return `  ${sized(`${pool.namespace}/${pool.pool}`, 28)}${blocks}${paint("gray", `${pool.hosts} hosts: ${words}`)}`
}

/** The state a person wants to know: the Machine's once the RemoteMachine has nothing more to say. */
export const stateOf = (machine: MachinePicture): string => {
  if (machine.isController) return "Running"
  if (machine.phase === "Running" || machine.phase === "Deleting")
    return machine.state === "Cleaning" ? "Cleaning" : machine.phase
  return machine.infraReady ? "Joining" : machine.state === "" ? machine.phase : machine.state
}

const STYLES: Readonly<Record<string, Style>> = {
  Running: "green",
  Joining: "cyan",
  Provisioning: "cyan",
  Claimed: "blue",
  Cleaning: "magenta",
  Deleting: "magenta"
}

const machineLine = (paint: Paint, machine: MachinePicture, frame: Frame): string => {
  const state = stateOf(machine)
  const style = STYLES[state] ?? "gray"
  const mark = state === "Running" ? "✔" : (SPINNER[frame.tick % SPINNER.length] ?? "")
  const name = sized(`${machine.namespace}/${machine.name}`, 42)
  const host = sized(machine.host, 16)
  const isRunning = machine.step !== "" && state === "Provisioning"
  const doing = isRunning
    ? `${paintedBar(paint, machine.progress, SMALL_BAR, style)} ${machine.step} ${machine.stepName}`
    : state === "Running"
      ? paint("gray", machine.isController ? "k0s controller: no Node" : "")
      : paint("gray", sized(machine.reason === state ? "" : machine.reason, Math.max(10, frame.columns - 82)).trimEnd())
  return `${paint(style, mark)} ${name} ${paint("gray", host)} ${paint(style, sized(state, 13))} ${doing}`
}

const ORDER = ["Provisioning", "Claimed", "Cleaning", "Joining", "Deleting", "Pending", "Running"]
const rank = (machine: MachinePicture): number => {
  const at = ORDER.indexOf(stateOf(machine))
  return at === -1 ? ORDER.indexOf("Pending") : at
}

/** As many as there is room for: those that are busy first, when not all fit. */
const shown = (machines: ReadonlyArray<MachinePicture>, room: number): ReadonlyArray<MachinePicture> =>
  machines.length <= room
    ? machines
    : [...machines].sort((one, other) => rank(one) - rank(other)).slice(0, Math.max(1, room - 1))

const summary = (machines: ReadonlyArray<MachinePicture>): string => {
  const counts = new Map<string, number>()
  for (const machine of machines) counts.set(stateOf(machine), (counts.get(stateOf(machine)) ?? 0) + 1)
  return [...counts].map(([state, count]) => `${count} ${state.toLowerCase()}`).join(", ")
}

export const frameText = (frame: Frame): string => {
  const paint = painter(frame.colours)
  const { columns, picture, seconds } = frame
  const { machines, running } = totals(picture)
  const room = Math.max(3, frame.rows - FRAME_LINES - picture.pools.length - frame.footer.length)
  const visible = shown(picture.machines, room)
  const hidden = picture.machines.filter((machine) => !visible.includes(machine))
  const width = Math.min(60, Math.max(20, columns - 40))
  const share = machines === 0 ? 0 : picture.machines.reduce((sum, one) => sum + one.progress, 0) / machines
  const time = `${seconds.toFixed(1)} s`
  return [
    `${paint("bold", frame.title)}${paint("gray", `  on ${frame.hosts}`)}`,
    "",
    `  ${paintedBar(paint, share, width, "green")}  ${paint("bold", `${running}/${machines}`)} machines running  ${paint("gray", time)}`,
    "",
    ...(picture.pools.length === 0
      ? []
      : [paint("bold", "Pools"), ...picture.pools.map((pool) => poolLine(paint, pool)), ""]),
    paint("bold", "Machines"),
    ...visible.map((machine) => machineLine(paint, machine, frame)),
    ...(hidden.length === 0 ? [] : [paint("gray", `  and ${hidden.length} more: ${summary(hidden)}`)]),
    ...(frame.footer.length === 0 ? [] : ["", ...frame.footer])
  ].join("\n")
}
