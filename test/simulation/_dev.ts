import * as Effect from "effect/Effect"
import { seed, told } from "./seeds.ts"

const from = Number(process.argv[2]),
  to = Number(process.argv[3])
let bad = 0
for (let n = from; n <= to; n++) {
  const t = performance.now()
  const r = await Effect.runPromise(
    Effect.raceFirst(
      Effect.map(seed(n), (x) => x),
      Effect.as(Effect.sleep(15000), undefined)
    )
  )
  const ms = Math.round(performance.now() - t)
  if (r === undefined) {
    console.log(`seed ${n} HANG`)
    bad++
    continue
  }
  if (r.violations.length > 0) {
    bad++
    console.log(`seed ${n} ${ms}ms rounds ${r.settledRounds}`)
    for (const v of r.violations.slice(0, 4)) console.log(`   ${v.checker} @${v.at}: ${v.what.slice(0, 260)}`)
  } else if (process.argv[4] === "v")
    console.log(
      `seed ${n} ${ms}ms ok rounds ${r.settledRounds} entries ${r.world.witness.entries().length} writes ${r.world.server.writes().length} end ${r.done.at(-1)?.at}`
    )
  if (process.argv[4] === "story") console.log(told(r))
}
console.log("bad", bad)
process.exit(0)
