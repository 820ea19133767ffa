/**
 * Owns durations as people write them in annotations and flags: as Go and Kubernetes do, in whole seconds. Pure.
 */
import * as Result from "effect/Result"

const UNITS = { h: 3_600, m: 60, s: 1 } as const

/** `1h30m` in seconds; fails with what is wrong, as the rest of a sentence. */
export const parseDuration = (text: string): Result.Result<number, string> => {
  const parts = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text)
  if (parts === null || text === "") return Result.fail("is not a duration like 24h or 1h30m")
  const of = (index: number, unit: keyof typeof UNITS) => Number(parts[index] ?? "0") * UNITS[unit]
  return Result.succeed(of(1, "h") + of(2, "m") + of(3, "s"))
}

/** The same way back, without what is zero. */
export const durationText = (seconds: number): string => {
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor((seconds % 3_600) / 60), seconds % 60]
  const text = `${h > 0 ? `${h}h` : ""}${m > 0 ? `${m}m` : ""}${s > 0 ? `${s}s` : ""}`
  return text === "" ? "0s" : text
}
