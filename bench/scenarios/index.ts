/** Owns the list of scenarios, in the order they run. Each is a file beside this one. */
import type { Scenario } from "../Scenario.ts"
import { apiLists, apiWatches, apiWrites } from "./apiserver.ts"
import { bootstrap, rendering } from "./bootstrap.ts"
import { memory } from "./memory.ts"
import { selftest } from "./selftest.ts"
import { sshd } from "./sshd.ts"

export const scenarios: ReadonlyArray<Scenario> = [
  selftest,
  memory,
  rendering,
  bootstrap,
  sshd,
  apiWrites,
  apiLists,
  apiWatches
]
