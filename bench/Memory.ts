/** Owns how much memory this process uses, as a result tells it. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Effect from "effect/Effect"

const MEBIBYTE = 2 ** 20

const collectGarbage = (): void => {
  setFlagsFromString("--expose-gc")
  const collect: unknown = runInNewContext("gc")
  if (typeof collect === "function") collect()
}

/** What lives on the heap and beside it (buffers), after garbage collection; and what the process has of the system. */
export const used = Effect.sync(() => {
  collectGarbage()
  const { external, heapUsed, rss } = process.memoryUsage()
  return { live: (heapUsed + external) / MEBIBYTE, rss: rss / MEBIBYTE }
})
