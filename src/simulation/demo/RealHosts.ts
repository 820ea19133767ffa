/**
 * Owns a user's own hosts as a demo's: given out in the order of their list, reached by real SSH, each with its own
 * account and key. They have no witness: what is left on them is found by looking, past the provider. Does not own the
 * list (HostsFile.ts), nor reading keys.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { JumpHost } from "../../api/RemoteMachine.ts"
import { firstUse } from "../../ssh/HostKeys.ts"
import * as LiveSshClient from "../../ssh/LiveSshClient.ts"
import type { SshClientShape, SshLogin } from "../../ssh/SshClient.ts"
import { type Finding, makeWitness } from "../Witness.ts"
import type { Farm, FarmHost, FarmKey } from "./Farm.ts"
import { hostKeyOf, type Identity, type ListedHost, type ListedJumpHost } from "./HostsFile.ts"
import { type Address, ManifestError } from "./Manifests.ts"

export interface RealJumpHost extends Omit<ListedJumpHost, "identity"> {
  /** Absent: the host's own. */
  readonly key?: FarmKey
  /** Of the Secret that the key is put into. */
  readonly secret: string
}

export interface RealHost extends Omit<ListedHost, "identity" | "jumpHosts"> {
  readonly key: FarmKey
  readonly jumpHosts: ReadonlyArray<RealJumpHost>
}

/** One key may lead to many jump hosts, and two accounts of one have two keys: by where its files are. */
export const jumpSecretOf = (identity: Identity): string =>
  `ssh-jump-${createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, SECRET_DIGITS)}`
/** Hexadecimal digits. */
const SECRET_DIGITS = 16

/** Hosts that are looked at side by side. */
const LOOK_CONCURRENCY = 16
/** For one host to be looked at, in seconds. */
const LOOK_SECONDS = 60

/** Prints what a tenant left, one thing a line: by files and processes, whatever the provider thinks of it. */
const LEFTOVERS = `
for path in /var/lib/k0s /run/k0s /etc/k0s.token /etc/k0s.yaml /run/cluster-api/bootstrap-success.complete \\
  /etc/systemd/system/k0sworker.service /etc/systemd/system/k0scontroller.service /etc/init.d/k0sworker \\
  /etc/init.d/k0scontroller /var/lib/machinist/runs/* /var/lib/machinist/incoming.*; do
  [ ! -e "$path" ] || echo "$path"
done
record=/var/lib/machinist/tenancy
[ ! -e "$record" ] || grep -q '^state free\\( \\|$\\)' "$record" || echo "a tenant ($(sed -n 's/^state \\([a-z]*\\).*/\\1/p' "$record"))"
for comm in /proc/[0-9]*/comm; do
  read -r name 2>/dev/null <"$comm" || continue
  [ "$name" != k0s ] || echo "process \${comm%/comm} (k0s)"
done
`

const linesOn = (ssh: SshClientShape, host: RealHost) =>
  Effect.gen(function* () {
    // Nothing secret is said there.
    const login = (
      { address, port, user }: RealHost | RealJumpHost,
      { passphrase, privateKey }: FarmKey
    ): SshLogin => ({
      ...{ address, port, user, privateKey, hostKeys: firstUse },
      ...(passphrase === undefined ? {} : { passphrase })
    })
    const jumpHosts = host.jumpHosts.map((jump) => login(jump, jump.key ?? host.key))
    const session = yield* ssh.connect({ ...login(host, host.key), jumpHosts })
    const process = yield* session.exec(host.useSudo ? "sudo -n sh -s" : "sh -s", Buffer.from(LEFTOVERS))
    const text = yield* process.stdout.pipe(Stream.decodeText, Stream.mkString)
    const { code } = yield* process.exit
    const lines = text.split("\n").filter((line) => line !== "")
    return code === 0 ? lines : [...lines, `looking ended with ${code ?? "a signal"}`]
  }).pipe(
    Effect.scoped,
    Effect.timeoutOrElse({
      duration: `${LOOK_SECONDS} seconds`,
      orElse: () => Effect.succeed([`looking took longer than ${LOOK_SECONDS} s`])
    }),
    // Not known to be clean.
    Effect.catch(({ message }) => Effect.succeed([`it could not be looked at: ${message}`]))
  )

const leftovers = (ssh: SshClientShape, hosts: ReadonlyArray<RealHost>): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.forEach(
    hosts,
    (host) =>
      Effect.map(
        linesOn(ssh, host),
        (lines): ReadonlyArray<Finding> =>
          lines.length === 0 ? [] : [{ host: hostKeyOf(host), at: 0, what: `it has ${lines.join(", ")}` }]
      ),
    { concurrency: LOOK_CONCURRENCY }
  ).pipe(Effect.map((found) => found.flat()))

const jumpHostOf = ({ address, hostKey, key, port, secret, user }: RealJumpHost): JumpHost => ({
  ...{ address, port, user },
  ...(key === undefined ? {} : { sshKeyRef: { name: secret } }),
  ...(hostKey === undefined ? {} : { hostKey })
})

const shown = ({ address, jumpHosts, port, useSudo, user }: RealHost): FarmHost => ({
  ...{ address, port, user, useSudo },
  ...(jumpHosts.length === 0 ? {} : { jumpHosts: jumpHosts.map(jumpHostOf) })
})

export const realFarm = Effect.fnUntraced(function* (
  hosts: ReadonlyArray<RealHost>,
  file: string
): Effect.fn.Return<Farm, never, Scope.Scope> {
  const ssh = yield* LiveSshClient.make()
  const byAddress = new Map(hosts.map((host) => [hostKeyOf(host), host]))
  const jumpKeys = new Map(hosts.flatMap(({ jumpHosts }) => jumpHosts).map(({ key, secret }) => [secret, key]))
  const given = new Map<string, RealHost>()
  const taken = new Set<RealHost>()

  const listed = (address: Address): Effect.Effect<RealHost, ManifestError> => {
    const host = byAddress.get(hostKeyOf(address))
    return host === undefined
      ? Effect.fail(
          new ManifestError({
            message: `the YAML names ${hostKeyOf(address)}, which ${file} does not list: add it there, with its identityFile`
          })
        )
      : Effect.succeed(host)
  }
  const next = (key: string): Effect.Effect<RealHost, ManifestError> => {
    const host = given.get(key) ?? hosts.find((one) => !taken.has(one))
    return host === undefined
      ? Effect.fail(
          new ManifestError({
            message: `${file} has ${hosts.length} hosts, and none is left for ${key}: list more, ask for fewer --machines, or give YAML of your own with -f`
          })
        )
      : Effect.succeed(host)
  }

  return {
    kind: "ssh",
    about: `${hosts.length} hosts of ${file}`,
    ssh,
    keyOf: (address) => byAddress.get(hostKeyOf(address))?.key,
    jumpKey: (secret) => jumpKeys.get(secret),
    witness: makeWitness(),
    add: (key, _user, address) =>
      Effect.map(address === undefined ? next(key) : listed(address), (host) => {
        given.set(key, host)
        taken.add(host)
        return shown(host)
      }),
    free: () => hosts.filter((host) => !taken.has(host)).map(shown),
    leftovers: leftovers(ssh, hosts)
  }
})
