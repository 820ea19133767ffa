/**
 * Owns what a demo wants of hosts, whatever they are made of: to add them by number, to reach them, and the counts of
 * their witness. In memory here; a real /bin/sh behind an SSH server is shellhosts/. Does not own the objects in the API.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { JumpHost } from "../../api/RemoteMachine.ts"
import type { RunStep } from "../../hosts/Protocol.ts"
import type { SshClientShape } from "../../ssh/SshClient.ts"
import { root, SIMULATED_KEY, sudoer } from "../hosts/Accounts.ts"
import type { K0sWorld } from "../hosts/K0s.ts"
import { makeSimulatedHosts } from "../hosts/SimulatedHosts.ts"
import type { StepContext } from "../hosts/StepContext.ts"
import {
  dirtyHosts,
  doubleTenants,
  type Finding,
  holders,
  makeWitness,
  stepsRunTwice,
  type Witness
} from "../Witness.ts"
import type { Address, ManifestError } from "./Manifests.ts"

export interface Counts {
  readonly doubleClaims: number
  readonly stepsRunTwice: number
  readonly dirtyHosts: number
  /** Hosts that a claim holds at this moment. */
  readonly held: number
  /** Bootstrap steps that ran to their end. */
  readonly steps: number
}

/** A host, and the account there and the way to it where they are not the YAML's to say. */
export interface FarmHost extends Address {
  readonly user?: string
  readonly useSudo?: boolean
  /** As the API has them; their keys by `Farm.jumpKey`. */
  readonly jumpHosts?: ReadonlyArray<JumpHost>
}

/** What one Secret with a key holds. */
export interface FarmKey {
  /** OpenSSH or PEM, as it stands in its file. */
  readonly privateKey: Redacted.Redacted<string>
  readonly passphrase?: Redacted.Redacted<string>
  readonly knownHosts?: string
}

export interface Farm {
  /** `ssh`: hosts of the user's own. */
  readonly kind: "sh" | "memory" | "ssh"
  /** For a person: what the hosts are. */
  readonly about: string
  readonly ssh: SshClientShape
  /** Goes into the Secrets that the YAML names. Undefined: the host is none of ours. */
  readonly keyOf: (address: Address) => FarmKey | undefined
  /** The same for a jump host's, by the name of its Secret. */
  readonly jumpKey: (secret: string) => FarmKey | undefined
  /**
   * Boots a host; `user` may log in besides root, and use sudo. An address that was given leads to it. `key` says which
   * host it is, should it be asked for again.
   */
  readonly add: (key: string, user: string, address?: Address) => Effect.Effect<FarmHost, ManifestError>
  /** Hosts that are there whether or not anyone asked for them, and nobody did. */
  readonly free: () => ReadonlyArray<FarmHost>
  /** What hosts without a witness have of a tenant, by looking. Undefined: there is a witness. */
  readonly leftovers: Effect.Effect<ReadonlyArray<Finding>> | undefined
  readonly witness: Witness
}

export const countsOf = (witness: Witness): Counts => {
  const entries = witness.entries()
  return {
    doubleClaims: doubleTenants(entries).length,
    stepsRunTwice: stepsRunTwice(entries).length,
    dirtyHosts: dirtyHosts(entries).length,
    held: holders(entries).size,
    steps: entries.filter((entry) => entry._tag === "StepEnded" && entry.verb === "run").length
  }
}

/** Second number of the loopback addresses of hosts in memory. */
const NET = 66
/** Addresses used of a last byte. */
const PER_BYTE = 250
/** Time of a step, milliseconds: long enough for a person to see it, short enough not to wait for it. */
export const STEP_MILLIS: readonly [number, number] = [60, 240]
const CONNECT_MILLIS: readonly [number, number] = [5, 30]

export const numbered = (net: number, index: number): string =>
  `127.${net}.${Math.floor(index / PER_BYTE)}.${(index % PER_BYTE) + 1}`

const SCRIPT = /^\/\S+\.sh$/m
const runsScript = (step: RunStep): boolean => SCRIPT.test(step.script)

/** A script that the machine's own files brought: of its lines those with k0s, the rest is taken as done. */
const runScript = Effect.fnUntraced(function* (context: StepContext) {
  const path = SCRIPT.exec(context.step.script)?.[0] ?? ""
  for (const line of (context.kernel.disk.readText(path) ?? "").split("\n")) {
    const words = /^\/\S*\/k0s (.+)$/.exec(line)?.[1]?.split(/\s+/)
    if (words !== undefined) yield* context.k0s(words).pipe(Effect.ignore)
  }
})

export const memoryFarm = Effect.fnUntraced(function* (
  k0s: K0sWorld,
  why?: string
): Effect.fn.Return<Farm, never, Scope.Scope> {
  const witness = makeWitness()
  const hosts = yield* makeSimulatedHosts(witness)
  let index = 0
  return {
    kind: "memory",
    about: `hosts in memory${why === undefined ? "" : ` (${why})`}`,
    ssh: hosts.client,
    keyOf: () => ({ privateKey: Redacted.make(SIMULATED_KEY) }),
    jumpKey: () => undefined,
    free: () => [],
    leftovers: undefined,
    witness,
    add: Effect.fnUntraced(function* (_key, user, given) {
      const address = given ?? { address: numbered(NET, index++), port: 22 }
      const host = yield* hosts.add({
        ...address,
        accounts: { root: root(SIMULATED_KEY), [user]: user === "root" ? root(SIMULATED_KEY) : sudoer(SIMULATED_KEY) },
        connectDelay: CONNECT_MILLIS,
        stepDuration: STEP_MILLIS,
        k0s
      })
      host.script(runsScript, { effect: runScript })
      return address
    })
  }
})
