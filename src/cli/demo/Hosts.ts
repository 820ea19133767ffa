/**
 * Owns the choice of what a demo's hosts are made of, and saying why; reading the list of a user's own, with their keys; and
 * by which address those reach this machine. Does not own the hosts.
 */
import { createSocket } from "node:dgram"
import { lookup } from "node:dns/promises"
import { homedir } from "node:os"
import * as Config from "effect/Config"
import type * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { type Farm, type FarmKey, memoryFarm } from "../../simulation/demo/Farm.ts"
import { type Identity, type ListedHost, parseHosts } from "../../simulation/demo/HostsFile.ts"
import { jumpSecretOf, type RealHost, type RealJumpHost, realFarm } from "../../simulation/demo/RealHosts.ts"
import type { K0sWorld } from "../../simulation/hosts/K0s.ts"
import { shellFarm } from "../../simulation/shellhosts/ShellFarm.ts"
import { firstUse } from "../../ssh/HostKeys.ts"
import { parsePrivateKey } from "../../ssh/SshKey.ts"
import { failed } from "../Failed.ts"

export interface Hosts {
  readonly make: (k0s: K0sWorld) => Effect.Effect<Farm, CliError.UserError, Scope.Scope>
  /** Of real hosts, the first: by it this machine's own address is found. */
  readonly real: ReadonlyArray<RealHost>
}

const refused = (message: string, instead: string) =>
  failed(`hosts with a real /bin/sh can't be had here: ${message.split("\n")[0]}. ${instead}`)

const standIns = (make: Hosts["make"]): Hosts => ({ make, real: [] })

const shells = (instead: string, state: string | undefined): Hosts =>
  standIns((k0s) => shellFarm(k0s, state).pipe(Effect.mapError(({ message }) => refused(message, instead))))

const shellsOrMemory = standIns((k0s) =>
  shellFarm(k0s).pipe(
    Effect.catch(({ message }) => memoryFarm(k0s, `no namespaces for real ones here: ${message.split("\n")[0]}`))
  )
)

/** Relative to the list, `~/` to the user's home. `what`: as the message names it. */
const read = Effect.fnUntraced(function* (given: string, what: string, list: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = given.startsWith("~/") ? path.join(homedir(), given.slice(2)) : given
  return yield* fs
    .readFileString(path.resolve(path.dirname(path.resolve(list)), file))
    .pipe(Effect.mapError((error) => failed(`${list}: ${what} can't be read: ${error.message}`)))
})

/** From a file or the environment; never from an argument, where everyone on this machine reads it. */
const passphraseOf = Effect.fnUntraced(function* (identity: Identity, of: string, list: string) {
  const { passphraseEnv, passphraseFile } = identity
  if (passphraseFile !== undefined) {
    const text = yield* read(passphraseFile, `the passphrase of ${of}`, list)
    return Redacted.make(text.replace(/\r?\n$/, ""))
  }
  return passphraseEnv === undefined
    ? undefined
    : yield* Config.Redacted(passphraseEnv).pipe(
        Effect.mapError(() => failed(`${list}: the environment has no ${passphraseEnv}, the passphrase of ${of}`))
      )
})

const keyOf = Effect.fnUntraced(function* (identity: Identity, of: string, list: string) {
  const privateKey = Redacted.make(yield* read(identity.identityFile, `the key of ${of}`, list))
  const passphrase = yield* passphraseOf(identity, of, list)
  const { knownHostsFile } = identity
  const knownHosts =
    knownHostsFile === undefined ? undefined : yield* read(knownHostsFile, `the known hosts of ${of}`, list)
  const key: FarmKey = {
    privateKey,
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(knownHosts === undefined ? {} : { knownHosts })
  }
  return key
})

/** Keys are tried, so that one that is none, or wants another passphrase, is told here and not host by host. */
const withKeys = Effect.fnUntraced(function* ({ identity, jumpHosts, ...host }: ListedHost, list: string) {
  const key = yield* keyOf(identity, host.address, list)
  const chain = yield* Effect.forEach(jumpHosts, ({ identity: own, ...jump }) =>
    own === undefined
      ? Effect.succeed<RealJumpHost>({ ...jump, secret: "" })
      : Effect.map(
          keyOf(own, jump.address, list),
          (its): RealJumpHost => ({ ...jump, key: its, secret: jumpSecretOf(own) })
        )
  )
  const real: RealHost = { ...host, key, jumpHosts: chain }
  yield* Effect.forEach([{ ...host, key }, ...chain.map((jump) => ({ ...jump, key: jump.key ?? key }))], (login) =>
    parsePrivateKey({ ...login, ...login.key, hostKeys: firstUse }).pipe(
      Effect.mapError(({ message, phase }) =>
        failed(`${list}: ${message}${phase === "passphrase" ? " (passphraseFile or passphraseEnv)" : ""}`)
      )
    )
  )
  return real
})

export const realHosts = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* fs
    .readFileString(file)
    .pipe(Effect.mapError((error) => failed(`${file} can't be read: ${error.message}`)))
  const listed = yield* Effect.fromResult(parseHosts(text, file)).pipe(
    Effect.mapError((error) => failed(error.message))
  )
  const real = yield* Effect.forEach(listed, (host) => withKeys(host, file))
  const hosts: Hosts = { make: () => realFarm(real, file), real }
  return hosts
})

/** Real shells where this machine allows them, unless something else was asked for. `state`: a directory to keep them. */
export const chooseHosts = Effect.fnUntraced(function* (asked: string, state: string | undefined) {
  const isKept = state !== undefined
  switch (asked) {
    case "memory":
      return isKept
        ? yield* failed("hosts in memory do not outlive the process: --state needs --hosts sh, or a list of your own")
        : standIns((k0s) => memoryFarm(k0s))
    case "sh":
      return shells(isKept ? "Leave out --state." : "Use --hosts memory.", state)
    case "":
      return isKept ? shells("Leave out --state.", state) : shellsOrMemory
    default: {
      const fs = yield* FileSystem.FileSystem
      const isFile = yield* Effect.orElseSucceed(fs.exists(asked), () => false)
      return isFile
        ? yield* realHosts(asked)
        : yield* failed(`--hosts takes sh, memory or a file with a list of hosts; there is no file ${asked}`)
    }
  }
})

/** Nothing is sent: the kernel says which of its addresses it would send from. */
export const addressTowards = (host: RealHost): Effect.Effect<string, CliError.UserError> => {
  // What this machine itself connects to.
  const { address, port } = host.jumpHosts[0] ?? host
  return Effect.tryPromise({
    try: async () => {
      const found = await lookup(address)
      return await new Promise<string>((resolve, reject) => {
        const socket = createSocket(found.family === 6 ? "udp6" : "udp4")
        socket.once("error", reject)
        socket.connect(port, found.address, () => {
          resolve(socket.address().address)
          socket.close()
        })
      })
    },
    catch: (error) =>
      failed(
        `${address} can't be reached from here: ${error instanceof Error ? error.message : String(error)}. Say with --advertise-address by which address hosts reach this machine.`
      )
  })
}
