/**
 * The shell driver keeps the promises of the host conformance suite: under dash, bash and BusyBox ash, in private roots
 * of this machine (LocalShell), as root; elsewhere it is skipped, and says so.
 */
import * as Effect from "effect/Effect"
import { makeLocalHost, shells, unavailable } from "../hosts/LocalShell.ts"
import { hostConformance, makeShellHost } from "./hosts.ts"

for (const shell of shells) {
  const make = Effect.flatMap(makeLocalHost({ shell }), (host) =>
    makeShellHost({
      ssh: host.ssh,
      access: { target: host.target, useSudo: false },
      sh: host.sh,
      reboot: host.reboot
    })
  )
  hostConformance(`shell driver, ${shell}`, make, {
    abilities: ["shell", "reboot"],
    unavailable,
    // Every place under one shell; a sample under the others, which differ in builtins, not in what is written when.
    everyNthKill: shell === "dash" ? 1 : 6
  })
}
const small = Effect.flatMap(makeLocalHost({ stateSize: "512k" }), (host) =>
  makeShellHost({
    ssh: host.ssh,
    access: { target: host.target, useSudo: false },
    sh: host.sh,
    smallStateDir: true
  })
)
hostConformance("shell driver, small disk", small, {
  abilities: ["fillDisk"],
  unavailable,
  only: (title) => title.includes("disk")
})
