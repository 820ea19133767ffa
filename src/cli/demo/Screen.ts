/**
 * Owns how a demo looks on a terminal: one frame as text, from a picture and a width and height. Pure. Does not own when it
 * is drawn (Show.ts), nor what it shows (simulation/demo/Picture.ts).
 */
import { stripVTControlCharacters, styleText } from "node:util"
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
/** Machines that are shown even where there is no room. */
const MIN_MACHINES = 3
/** Columns of a machine's line before what it does: mark, name, host, state. */
const NAME_COLUMNS = 42
const HOST_COLUMNS = 16
const STATE_COLUMNS = 13
const BEFORE_DOING = 2 + NAME_COLUMNS + 1 + HOST_COLUMNS + 1 + STATE_COLUMNS + 1

type Style = Parameters<typeof styleText>[0]
type Paint = (style: Style, text: string) => string

const painter = (colours: boolean): Paint =>
  colours ? (style, text) => styleText(style, text, { validateStream: false }) : (_, text) => text

/** Cut or filled to just this width. */
const sized = (text: string, width: number): string =>
  text.length <= width ? text.padEnd(width) : width < 1 ? "" : `${text.slice(0, width - 1)}…`

/** Rows that these lines take on a terminal, which breaks those that are too long. */
const rowsOf = (lines: ReadonlyArray<string>, columns: number): number =>
  lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(stripVTControlCharacters(line).length / columns)), 0)

/** A line that would be broken loses the comment at its end. */
const fitted = (line: string, columns: number): string => (line.length <= columns ? line : line.replace(/\s+# .*$/, ""))

interface Around {
  readonly above: ReadonlyArray<string>
  readonly below: ReadonlyArray<string>
}

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
  const whose = `${machine.namespace}/${machine.name}`
  if (frame.columns < BEFORE_DOING)
    return `${paint(style, mark)} ${sized(whose, frame.columns - 3 - STATE_COLUMNS)} ${paint(style, state.slice(0, STATE_COLUMNS))}`
  const name = sized(whose, NAME_COLUMNS)
  const host = sized(machine.host, HOST_COLUMNS)
  const room = Math.max(0, frame.columns - BEFORE_DOING)
  const short = (text: string) => sized(text, room).trimEnd()
  const smallBar = Math.min(SMALL_BAR, room)
  const isRunning = machine.step !== "" && state === "Provisioning"
  const doing = isRunning
    ? `${paintedBar(paint, machine.progress, smallBar, style)}${sized(` ${machine.step} ${machine.stepName}`, room - smallBar).trimEnd()}`
    : state === "Running"
      ? paint("gray", short(machine.isController ? "k0s controller: no Node" : ""))
      : paint("gray", short(machine.reason === state ? "" : machine.reason))
  return `${paint(style, mark)} ${name} ${paint("gray", host)} ${paint(style, sized(state, STATE_COLUMNS))} ${doing}`
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
  const width = Math.min(60, Math.max(5, columns - 40))
  const share = machines === 0 ? 0 : picture.machines.reduce((sum, one) => sum + one.progress, 0) / machines
  const time = `${seconds.toFixed(1)} s`
  const title = `${paint("bold", frame.title)}${paint("gray", `  on ${frame.hosts}`)}`
  const progress = `  ${paintedBar(paint, share, width, "green")}  ${paint("bold", `${running}/${machines}`)} machines running  ${paint("gray", time)}`
  const pools = picture.pools.map((pool) => poolLine(paint, pool))
  const footer = frame.footer.map((line) => fitted(line, columns))
  const wide = {
    above: [title, "", progress, "", ...(pools.length === 0 ? [] : [paint("bold", "Pools"), ...pools, ""])],
    below: footer.length === 0 ? [] : ["", ...footer]
  }
  const heading = paint("bold", "Machines")
  // The cursor stands in a row of its own below; what is higher than the terminal loses its upper end.
  const roomIn = ({ above, below }: Around) => frame.rows - 1 - rowsOf([...above, heading, ...below], columns)
  const fits = [wide, { above: [title, progress], below: footer }].find((one) => roomIn(one) >= MIN_MACHINES)
  // Where nothing fits, how far it is matters most; what can be done is still said once it is printed.
  const around = fits ?? { above: [progress], below: [] }
  const above = [...around.above, heading]
  const { below } = around
  const room = Math.max(1, roomIn(around))
  const visible = shown(picture.machines, room)
  const hidden = picture.machines.filter((machine) => !visible.includes(machine))
  return [
    ...above,
    ...visible.map((machine) => machineLine(paint, machine, frame)),
    ...(hidden.length === 0
      ? []
      : [paint("gray", sized(`  and ${hidden.length} more: ${summary(hidden)}`, columns).trimEnd())]),
    ...below
  ].join("\n")
}
