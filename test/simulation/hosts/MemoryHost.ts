/**
 * Owns the in-memory host's side of the conformance suite: a ConformanceHost made of a SimulatedHost, whose witness is
 * asked when the scenario is over. Does not own scenarios.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { STATE_DIR, TENANCY_FILE } from "../../../src/hosts/Protocol.ts"
import { root, SIMULATED_KEY, sudoer, withoutSudo } from "../../../src/simulation/hosts/Accounts.ts"
import { journalPath } from "../../../src/simulation/hosts/Journal.ts"
import { makeSimulatedHosts } from "../../../src/simulation/hosts/SimulatedHosts.ts"
import {
  dirtyHosts,
  doubleTenants,
  failedStepsRunTwice,
  overlappingSteps,
  stepsRunTwice
} from "../../../src/simulation/Witness.ts"
import { firstUse } from "../../../src/ssh/HostKeys.ts"
import type { Ability, ConformanceHost } from "../../conformance/hosts.ts"

const DIR = "/srv/conformance"
export const memoryAbilities: ReadonlyArray<Ability> = ["reboot", "fillDisk", "accounts"]

export const makeMemoryHost: Effect.Effect<ConformanceHost, never, Scope.Scope> = Effect.gen(function* () {
  const hosts = yield* makeSimulatedHosts()
  const address = "192.0.2.7"
  const host = yield* hosts.add({
    address,
    accounts: {
      root: root(SIMULATED_KEY),
      machinist: sudoer(SIMULATED_KEY),
      nosudo: withoutSudo(SIMULATED_KEY)
    },
    image: { "/bin/sleep": "sleep", [`${DIR}/program`]: "program" }
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      assert.deepStrictEqual(hosts.defects(), [])
      const entries = hosts.witness.entries()
      for (const query of [stepsRunTwice, failedStepsRunTwice, overlappingSteps, doubleTenants]) {
        assert.deepStrictEqual(query(entries), [], query.name)
      }
      assert.deepStrictEqual(
        dirtyHosts(entries).filter(({ what }) => !what.includes("/var/lib/k0s")),
        []
      )
    })
  )
  const access = (user: string, useSudo: boolean) => ({
    target: { address, port: 22, user, privateKey: Redacted.make(SIMULATED_KEY), hostKeys: firstUse },
    useSudo
  })
  const { disk, kernel } = host
  let counted = 0
  return {
    ssh: hosts.client,
    access: access("root", false),
    dir: DIR,
    program: `${DIR}/program`,
    readFile: (path) => Effect.sync(() => disk.readText(path)),
    writeFile: (path, text) => Effect.orDie(disk.write(path, text, { via: "image" })),
    remove: (path) => Effect.sync(() => void disk.remove(path)),
    stateBytes: Effect.sync(() => disk.bytesBelow(STATE_DIR)),
    stateListing: Effect.sync(() => disk.list(STATE_DIR).join("\n")),
    running: (comm) => Effect.sync(() => kernel.processes().filter((process) => process.comm === comm).length),
    startUntagged: (path) =>
      Effect.asVoid(kernel.spawn({ comm: path.split("/").at(-1) ?? path, role: "service" }, () => Effect.never)),
    loseRecord: Effect.sync(() => void disk.remove(TENANCY_FILE)),
    loseJournal: (claim) => Effect.sync(() => void disk.remove(journalPath(claim, "run"))),
    killDriver: Effect.asVoid(host.killDriver),
    failAt: (n, how = "process") =>
      Effect.sync(() => {
        counted = kernel.failpointsPassed().length
        kernel.failAt(n, how)
      }),
    failpointsPassed: Effect.sync(() => kernel.failpointsPassed().length - counted),
    reboot: host.reboot,
    fillDisk: (full) => Effect.sync(() => disk.setFull(full ? STATE_DIR : undefined)),
    accounts: {
      sudoer: access("machinist", true),
      refused: access("nosudo", true),
      plain: access("machinist", false)
    }
  }
})
