/**
 * Hosts with a real /bin/sh: the provider's real driver runs on them over real SSH, their witness tells what happened, also
 * what should not have, and nothing of them is left. Needs namespaces: of root, or of a user.
 */
import { readdirSync } from "node:fs"
import { release, tmpdir } from "node:os"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Engine from "../../src/simulation/demo/Engine.ts"
import { countsOf, type Farm } from "../../src/simulation/demo/Farm.ts"
import { openWorld } from "../../src/simulation/hosts/K0s.ts"
import { shellFarm } from "../../src/simulation/shellhosts/ShellFarm.ts"
import { firstUse } from "../../src/ssh/HostKeys.ts"

const unavailable = await Effect.runPromise(
  Effect.scoped(
    shellFarm(openWorld).pipe(
      Effect.as(undefined),
      Effect.catch((error) => Effect.succeed(error.message))
    )
  )
)

const leftOvers = (): ReadonlyArray<string> =>
  readdirSync(tmpdir()).filter((name) => name.startsWith(`machinist-hosts-${process.pid}-`))

/** As a person with the key would: the exit code and what was said. */
const ssh = (farm: Farm, at: { readonly address: string; readonly port: number }, command: string, user = "root") =>
  Effect.gen(function* () {
    const session = yield* farm.ssh.connect({
      ...at,
      user,
      privateKey: farm.keyOf({ address: "", port: 22 })?.privateKey ?? Redacted.make(""),
      hostKeys: firstUse
    })
    const running = yield* session.exec(command, new Uint8Array())
    const said = yield* Stream.mkString(Stream.decodeText(running.stdout))
    return { said: said.trim(), exit: yield* running.exit }
  }).pipe(Effect.scoped)

describe.skipIf(unavailable !== undefined)("hosts with a real /bin/sh", () => {
  it.live("have this machine's kernel, and no service manager (unlike: shared-kernel, no-init)", () =>
    Effect.gen(function* () {
      const farm = yield* shellFarm(openWorld)
      const one = yield* farm.add("one", "root")
      assert.strictEqual((yield* ssh(farm, one, "uname -r")).said, release())
      assert.notStrictEqual((yield* ssh(farm, one, "cat /proc/1/comm")).said, "systemd")
    }).pipe(Effect.scoped)
  )

  it.live("have a root, processes, a name and an address of their own, and are gone afterwards", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const farm = yield* shellFarm(openWorld)
        const one = yield* farm.add("one", "my-user")
        const other = yield* farm.add("other", "root")
        assert.notStrictEqual(one.address, other.address)
        yield* ssh(farm, one, "echo hello >/etc/mine; exit 3").pipe(
          Effect.map(({ exit }) => assert.deepStrictEqual(exit, { code: 3 }))
        )
        assert.strictEqual((yield* ssh(farm, one, "cat /etc/mine; hostname")).said, "hello\nhost-1")
        assert.strictEqual(
          (yield* ssh(farm, other, "cat /etc/mine; ls /proc | grep -c '^[0-9]' | head -c 1")).said.length,
          1
        )
        // The same key again is the same host.
        assert.deepStrictEqual(yield* farm.add("one", "my-user"), one)
        // sudo is root; without it the user is one, where there can be others.
        assert.strictEqual((yield* ssh(farm, one, "sudo -n id -u", "my-user")).said, "0")
        const uid = process.getuid?.() === 0 ? "1000" : "0"
        assert.strictEqual((yield* ssh(farm, one, "id -u", "my-user")).said, uid)
        const stranger = yield* Effect.flip(ssh(farm, one, "true", "stranger"))
        assert.strictEqual("phase" in stranger ? stranger.phase : "", "authentication")
        // What nobody cleaned, and a second tenant on it, is seen.
        const tenancy = (claim: string, state: string) =>
          ssh(
            farm,
            other,
            `mkdir -p /var/lib/machinist && printf 'claim ${claim}\\nmachine a/b\\ncluster c\\nfence 1\\nboot x\\nstate ${state}\\nend\\n' >/var/lib/machinist/tenancy`
          )
        yield* tenancy("first", "held")
        yield* tenancy("second", "held")
        yield* ssh(farm, other, "mkdir -p /var/lib/k0s")
        yield* tenancy("second", "free")
        // The witness looks once the command has ended: one more, and it has.
        yield* ssh(farm, other, "true")
        yield* Effect.suspend(() => Effect.succeed(countsOf(farm.witness))).pipe(
          Effect.repeat({ until: ({ dirtyHosts, doubleClaims }) => dirtyHosts === 1 && doubleClaims === 1 })
        )
      }).pipe(Effect.scoped)
      assert.deepStrictEqual(leftOvers(), [])
    })
  )

  it.live("carry the whole demo: every example comes true and is cleaned away by the hosts' own account", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const demo = yield* Engine.start({ machines: 2, files: undefined, farm: (k0s) => shellFarm(k0s) })
        yield* demo.apply
        yield* demo.ready
        const { held, steps } = countsOf(demo.farm.witness)
        // Its own witness saw them, each with a handful of steps.
        assert.strictEqual(held, demo.picture().machines.filter(({ host }) => host !== "").length)
        assert.isAbove(steps, 4 * held)
        yield* demo.remove
        assert.isTrue(
          Engine.isGood(yield* demo.report, true),
          JSON.stringify([yield* demo.report, yield* demo.objections])
        )
        assert.strictEqual(countsOf(demo.farm.witness).held, 0)
      }).pipe(Effect.scoped)
      assert.deepStrictEqual(leftOvers(), [])
    })
  )
})

describe.skipIf(unavailable === undefined)("where there can be no hosts with a real /bin/sh", () => {
  it("a reason is given", () => assert.isAbove((unavailable ?? "").length, 10))
})
