/**
 * Owns the facts a result is worth nothing without: the machine, the runtime, the commit. An edge: reads the operating system
 * and asks git.
 */
import { spawnSync } from "node:child_process"
import { cpus, release, totalmem, type } from "node:os"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"

export interface MachineFacts {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
  /** With `-dirty` when tracked files were changed; `unknown` outside a git tree. */
  readonly commit: string
  /** RFC 3339. */
  readonly date: string
}

const GIT_TIMEOUT_MILLIS = 10_000

const commit = (): string => {
  const result = spawnSync("git", ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], {
    cwd: import.meta.dirname,
    encoding: "utf8",
    timeout: GIT_TIMEOUT_MILLIS
  })
  return result.status === 0 ? result.stdout.trim() : "unknown"
}

export const machineFacts: Effect.Effect<MachineFacts> = Effect.map(DateTime.now, (now) => {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    node: process.version,
    commit: commit(),
    date: DateTime.formatIso(now)
  }
})
