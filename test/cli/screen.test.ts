/**
 * What a person sees of a demo on a terminal: all of a frame at any usual size, and each frame alone, whatever stood there
 * before. The terminal is one in memory that knows the sequences log-update writes.
 */
import { Writable } from "node:stream"
import { stripVTControlCharacters } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { redraw } from "../../src/cli/demo/Redraw.ts"
import { frameText } from "../../src/cli/demo/Screen.ts"
import type { MachinePicture } from "../../src/simulation/demo/Picture.ts"

const machine = (index: number, changes: Partial<MachinePicture> = {}): MachinePicture => ({
  namespace: "pooled-workers",
  name: `workers-9p5ts-${String(index).padStart(5, "0")}`,
  host: `127.100.0.${index}:22`,
  phase: "Running",
  state: "Ready",
  reason: "",
  message: "",
  step: "",
  stepName: "",
  progress: 1,
  infraReady: true,
  running: true,
  isController: false,
  ...changes
})

const FOOTER = [
  "This is a cluster that kubectl can talk to. In another terminal:",
  "  export KUBECONFIG=/tmp/machinist-demo-rKitZU/kubeconfig",
  "  kubectl get machines,remotemachines,pooledremotemachines -A",
  "  kubectl -n pooled-workers scale machinedeployment workers --replicas 3     # watch three hosts being cleaned",
  "  kubectl -n sudo describe remotemachine remote-test-0                       # its story, as Events",
  "Ctrl-C ends the demo; nothing of it is left then."
]

const frame = (machines: ReadonlyArray<MachinePicture>, columns: number, rows: number, tick = 0) =>
  frameText({
    picture: {
      machines,
      awaited: 0,
      pools: [{ namespace: "pooled-workers", pool: "default", hosts: 6, phases: new Map([["Reserved", 6]]) }]
    },
    seconds: 12 + tick / 10,
    hosts: "hosts with a real /bin/sh (mount and PID namespaces)",
    title: "Machinist: every example, and 6 pooled workers",
    footer: FOOTER,
    columns,
    rows,
    tick,
    colours: true
  })

const ESCAPE = String.fromCharCode(27)
/** A control sequence (its number, its letter), or plain text. */
const SEQUENCE = new RegExp(`${ESCAPE}\\[\\??(\\d*)(?:;\\d+)*([A-Za-z])|([^${ESCAPE}]+)`, "g")

/** A terminal: what stands in its rows after what was written to it. */
const terminal = (columns: number, rows: number) => {
  const screen: Array<string> = [""]
  let row = 0
  let column = 0
  const text = (characters: string) => {
    for (const character of characters) {
      if (character === "\n") {
        row += 1
        column = 0
        while (screen.length <= row) screen.push("")
        continue
      }
      const line = (screen[row] ?? "").padEnd(column)
      screen[row] = line.slice(0, column) + character + line.slice(column + 1)
      column += 1
    }
  }
  const control = (count: number, what: string) => {
    if (what === "A") row = Math.max(0, row - count)
    else if (what === "B") row = Math.min(screen.length - 1, row + count)
    else if (what === "G") column = 0
    else if (what === "K") screen[row] = count === 2 ? "" : (screen[row] ?? "").slice(0, column)
    else assert.include(["m", "h", "l"], what)
  }
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      const parts = String(chunk).matchAll(SEQUENCE)
      for (const [, count = "", what, plain] of parts)
        if (what === undefined) text(plain ?? "")
        else control(count === "" ? (what === "K" ? 0 : 1) : Number(count), what)
      done()
    }
  })
  return {
    stream: Object.assign(stream, { columns, rows, isTTY: true }) as unknown as NodeJS.WriteStream,
    shows: () => screen.join("\n").trimEnd()
  }
}

describe("the screen of a demo", () => {
  const machines = Array.from({ length: 19 }, (_, index) =>
    machine(
      index,
      [
        {},
        { isController: true },
        {
          phase: "Provisioning",
          infraReady: false,
          running: false,
          state: "Provisioning",
          step: "4/9",
          stepName: "get"
        },
        { phase: "Pending", infraReady: false, running: false, state: "Pending", reason: "WaitingForBootstrapData" }
      ][index % 4]
    )
  )

  for (const [columns, rows] of [
    [60, 20],
    [40, 12],
    [30, 6]
  ] as const)
    it(`shows in ${columns} × ${rows} how far it is, whatever else there is no room for`, () => {
      const lines = stripVTControlCharacters(frame(machines, columns, rows)).split("\n")
      const height = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0)
      assert.isBelow(height, rows)
      assert.match(lines.slice(0, 3).join("\n"), /10\/19 machines running/)
      assert.isAtLeast(lines.filter((line) => /^. pooled-w/.test(line)).length, 1)
    })

  for (const [columns, rows] of [
    [80, 24],
    [100, 30],
    [120, 45],
    [200, 60]
  ] as const)
    it(`is no higher than a terminal of ${columns} × ${rows}, commands to copy whole`, () => {
      const lines = stripVTControlCharacters(frame(machines, columns, rows)).split("\n")
      const height = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0)
      assert.isBelow(height, rows)
      // Comments behind commands go first.
      for (const line of FOOTER) assert.include(lines, line.length <= columns ? line : line.replace(/\s+# .*$/, ""))
      assert.isAtLeast(lines.filter((line) => line.includes("workers-9p5ts-")).length, 3)
    })

  it("is each frame alone, when machines come and go in the middle of it", () => {
    const { stream, shows } = terminal(120, 45)
    const screen = redraw(stream)
    const middle = (...left: ReadonlyArray<number>) => left.map((index) => machine(index))
    const sequence = [middle(1, 5, 9), middle(1, 9), middle(1, 2, 3, 4, 9), middle(1, 2, 9), middle(9), middle(8, 9)]
    for (const [tick, one] of sequence.entries()) {
      const text = frame(one, 120, 45, tick)
      screen.draw(text)
      assert.strictEqual(shows(), stripVTControlCharacters(text), `frame ${tick}`)
    }
  })
})
