/** Owns what a step on a simulated host without a shell may touch. Not what it does (StepRunner.ts, MiniShell.ts). */
import type * as Effect from "effect/Effect"
import type { RunStep } from "../../hosts/Protocol.ts"
import type { DiskError } from "./Disk.ts"
import type { Kernel } from "./Kernel.ts"

export interface StepContext {
  readonly kernel: Kernel
  /** The step's own process. */
  readonly pid: number
  readonly claim: string
  readonly verb: "run" | "clean"
  readonly index: number
  readonly step: RunStep
  readonly workingDir: string
  readonly stdout: (bytes: number) => void
  readonly stderr: (text: string) => void
  /** `k0s <words>`; exit code. */
  readonly k0s: (words: ReadonlyArray<string>) => Effect.Effect<number, DiskError>
}
