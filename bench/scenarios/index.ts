/** Owns the list of scenarios, in the order they run. Each is a file beside this one. */
import type { Scenario } from "../Scenario.ts"
import { apiLists, apiWatches, apiWrites } from "./apiserver.ts"
import { blackhole } from "./blackhole.ts"
import { bootstrap, rendering } from "./bootstrap.ts"
import { deletion } from "./deletion.ts"
import { memory } from "./memory.ts"
import { reclaim } from "./reclaim.ts"
import { seeds } from "./seeds.ts"
import { selftest } from "./selftest.ts"
import { sessions } from "./sessions.ts"
import { simulation } from "./simulation.ts"
import { sshd, sshdLong } from "./sshd.ts"

export const scenarios: ReadonlyArray<Scenario> = [
  selftest,
  memory,
  blackhole,
  reclaim,
  simulation,
  seeds,
  rendering,
  bootstrap,
  sshd,
  sshdLong,
  deletion,
  sessions,
  apiWrites,
  apiLists,
  apiWatches
]
