/**
 * Holds that one driver at most acts for a claim, and that one does: requests that were cut short, swept or sent twice,
 * drivers that are late or die, followers that go and come, numbers that mean someone else by now.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import {
  bytes,
  cleanOf,
  DRIVERS,
  eventually,
  HELD,
  KILL_DRIVER,
  KILL_FOLLOWERS,
  lateDriver,
  letGo,
  runOf,
  STATE,
  setUp,
  tenant
} from "./DriverWorld.ts"
import { unavailable } from "./LocalShell.ts"

describe.skipIf(unavailable !== undefined)(
  `drivers and followers on a host${unavailable === undefined ? "" : `: skipped, ${unavailable}`}`,
  () => {
    it.live("a request that was cut short changes nothing, and nothing of it stays, whoever it was said to", () =>
      Effect.gen(function* () {
        const { access, host, out, run, runs } = yield* setUp()
        const files = [{ path: "/srv/placed", content: bytes("x"), mode: "0644" }]
        const cuts: ReadonlyArray<readonly [(text: string) => string, RegExp]> = [
          [(text) => text.slice(0, -1), /cut short/],
          // Behind the last line but one of the text, and within the header.
          [(text) => text.slice(0, text.indexOf('\nfront "$1"\n') + 4), /stored/],
          [(text) => text.slice(0, text.indexOf("#sentinel")), /stored/],
          // Within a definition: the shell itself ends there.
          [(text) => text.slice(0, text.indexOf("\nread_record() {") + 20), /ended without a result/]
        ]
        for (const looked of [false, true])
          for (const [cut, message] of cuts) {
            host.rewrite = (text) =>
              text.startsWith("#machinist-request") && text.includes("#verb run") ? cut(text) : text
            if (looked) yield* runs.inspect(access, tenant)
            const { error } = yield* run(runOf("touch /tmp/ran", { files }))
            assert.strictEqual(error?.reason, "DriverFailed")
            assert.match(error?.message ?? "", message)
            // What ends the exchange is said before the shell's own end.
            yield* eventually(Effect.map(out(`find ${STATE} -type f; ls /tmp/ran 2>/dev/null`), (text) => text === ""))
          }
      })
    )

    it.live("the shell that looked at a host goes on with the run; when it is gone by then, another one does", () =>
      Effect.gen(function* () {
        const { access, host, out, run, runs } = yield* setUp()
        const waiting = `for p in /proc/[0-9]*; do [ "$(tr '\\000' ' ' <$p/cmdline)" != "sh -s " ] || echo \${p#/proc/}; done`
        const looked = Effect.andThen(runs.inspect(access, tenant), out(waiting))
        const shell = yield* looked
        assert.match(shell, /^\d+$/)
        const { error } = yield* run(runOf(`ls ${STATE}/runs/c1 >/tmp/seen`))
        assert.isUndefined(error, error?.message)
        assert.include(yield* out("cat /tmp/seen"), `follow-${shell}.`)
        yield* eventually(Effect.map(out(waiting), (pids) => pids === ""))
        yield* host.sh(`kill -9 ${yield* looked}`)
        assert.deepStrictEqual(yield* run(runOf("true")), {
          told: ["Attached", "StepStarted 0", "StepEnded 0 0"],
          error: undefined
        })
      })
    )

    it.live("a lock whose owner is dead is nobody's; a living owner's is waited for, but not for ever", () =>
      Effect.gen(function* () {
        const { host, run } = yield* setUp()
        yield* host.sh(`mkdir -p ${STATE}/lock
        boot=$(cat /proc/sys/kernel/random/boot_id)
        start=$(cut -d ' ' -f 22 /proc/1/stat)
        for owner in $boot.99999.1.1 another-boot.1.$start.1; do
          : >${STATE}/lock/$owner.choosing >${STATE}/lock/$owner.ticket-1
        done
        : >${STATE}/lock/$boot.99998.1.1.choosing >${STATE}/lock/$boot.99997.1.1.ticket-7`)
        assert.isUndefined((yield* run(runOf("true"))).error)
        yield* host.sh(
          `: >${STATE}/lock/$(cat /proc/sys/kernel/random/boot_id).1.$(cut -d ' ' -f 22 /proc/1/stat).1.choosing`
        )
        host.rewrite = (text) => text.replace("\nLOCK_PAUSES=300\n", "\nLOCK_PAUSES=3\n")
        const { error } = yield* run(runOf("true"))
        assert.strictEqual(error?.reason, "DriverFailed")
        assert.include(error?.message, "held by process 1")
      })
    )

    it.live("a follower whose channel is gone leaves by itself, with everything it had; the run stays", () =>
      Effect.gen(function* () {
        const { access, host, out, run, runs } = yield* setUp()
        host.rewrite = (text) => text.replace("\nTICKS_A_HEARTBEAT=3\n", "\nTICKS_A_HEARTBEAT=1\n")
        const request = runOf("until [ -e /tmp/go ]; do sleep 0.1; done")
        const fiber = yield* Effect.forkChild(Stream.runDrain(runs.run(access, request)))
        yield* eventually(Effect.map(out(`ls ${STATE}/runs/c1/follow-* 2>/dev/null`), (text) => text !== ""))
        yield* eventually(Effect.map(out(`ls ${STATE}/runs/c1/step-0 2>/dev/null`), (text) => text !== ""))
        yield* Fiber.interrupt(fiber)
        yield* eventually(Effect.map(out(`ls ${STATE}/runs/c1/follow-*`), (text) => text === ""))
        assert.notStrictEqual(yield* out(DRIVERS), "0")
        yield* host.sh("touch /tmp/go")
        assert.isUndefined((yield* run(request)).error)
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`ls ${STATE} | grep incoming`), "")
      })
    )

    it.live("what a living driver runs stays, though the one it was sent to is gone and another one comes", () =>
      Effect.gen(function* () {
        const { access, host, out, run, runs } = yield* setUp()
        const wait = 'case $1 in "file "*) : >/tmp/at; until [ -e /tmp/go ]; do sleep 0.1; done ;; esac'
        host.rewrite = (text) => text.replace("\nfailpoint() { :; }\n", () => `\nfailpoint() { ${wait}; }\n`)
        const request = runOf("cat /srv/placed >/tmp/read", {
          files: [{ path: "/srv/placed", content: bytes("whole"), mode: "0600" }]
        })
        const first = yield* Effect.forkChild(Effect.exit(Stream.runDrain(runs.run(access, request))))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        yield* Fiber.interrupt(first)
        yield* host.sh(KILL_FOLLOWERS)
        const second = yield* Effect.forkChild(run(request))
        // The first one's is still named there.
        yield* eventually(Effect.map(out(`ls ${STATE}/runs/c1/follow-*.fifo | wc -l`), (count) => count === "2"))
        yield* host.sh("touch /tmp/go")
        const { error } = yield* Fiber.join(second)
        assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* out("cat /tmp/read"), "whole")
      })
    )

    it.live("a driver whose request was swept before anyone knew of it begins nothing; the next one does", () =>
      Effect.gen(function* () {
        const { access, host, out, run, runs } = yield* setUp()
        const wait = ": >/tmp/at; until [ -e /tmp/go ]; do sleep 0.1; done"
        host.rewrite = lateDriver(wait)
        const request = runOf("cat /srv/placed >>/tmp/read", {
          files: [{ path: "/srv/placed", content: bytes("whole"), mode: "0600" }]
        })
        const first = yield* Effect.forkChild(Effect.exit(Stream.runDrain(runs.run(access, request))))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        yield* Fiber.interrupt(first)
        yield* host.sh(`${KILL_FOLLOWERS}
          rm ${STATE}/incoming.*; touch /tmp/go`)
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        // Nor has it an error to tell: whoever follows by now follows the next one.
        assert.strictEqual(
          yield* out(`ls /srv/placed /tmp/read 2>/dev/null; grep -a '^error' ${STATE}/runs/c1/journal`),
          ""
        )
        const { error } = yield* run(request)
        assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* out("cat /tmp/read"), "whole")
      })
    )

    // Of two followers that come at once, each launches a driver: neither is known to the other yet.
    const launchedTwice = (verb: "run" | "clean", when: "waits" | "is late") =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        const requests = out(`ls ${STATE} | grep -c incoming`)
        const script = "echo x >>/tmp/ran; until [ -e /tmp/end ]; do sleep 0.1; done"
        const step = { name: "only", script }
        const play = verb === "run" ? run(runOf(script)) : clean(cleanOf({ steps: [step] }))
        const wait =
          "mkdir /tmp/$$; if mkdir /tmp/first; then go=go; else go=late; fi; until [ -e /tmp/$go ]; do sleep 0.1; done"
        host.rewrite = lateDriver(`{ ${wait}; } 2>/dev/null`)
        const fibers = yield* Effect.forEach([1, 2], () => Effect.forkChild(play))
        yield* eventually(Effect.map(out("ls -d /tmp/[0-9]* 2>/dev/null | wc -l"), (count) => count === "2"))
        assert.strictEqual(yield* requests, "2")
        yield* host.sh(when === "waits" ? "touch /tmp/go /tmp/late" : "touch /tmp/go")
        yield* eventually(Effect.map(out("cat /tmp/ran 2>/dev/null"), (text) => text !== ""))
        if (when === "waits") yield* eventually(Effect.map(requests, (count) => count === "1"))
        yield* host.sh("touch /tmp/end")
        for (const { error } of yield* Effect.forEach(fibers, Fiber.join)) assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* requests, "0")
        yield* host.sh("touch /tmp/late")
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`cat /tmp/ran; ls ${STATE} | grep incoming`), "x")
        if (verb === "clean") assert.strictEqual(yield* out(`find ${STATE} -type f`), `${STATE}/tenancy`)
      })

    for (const verb of ["run", "clean"] as const) {
      it.live(`two drivers launched for a ${verb}: the one that finds the other at work takes its request away`, () =>
        launchedTwice(verb, "waits")
      )
      it.live(`two drivers launched for a ${verb}: the one that comes when all is over finds no request`, () =>
        launchedTwice(verb, "is late")
      )
    }

    it.live("what a killed driver ran is left to nobody: neither to who comes next, nor to a clean host", () =>
      Effect.gen(function* () {
        const { access, clean, host, out, runs } = yield* setUp()
        const requests = out(`grep -l SECRET ${STATE}/incoming.*`)
        const request = runOf("SECRET=1; touch /tmp/begun; sleep 600")
        const hang = Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(Effect.exit(Stream.runDrain(runs.run(access, request))))
          yield* eventually(Effect.map(out("ls /tmp/begun 2>/dev/null"), (text) => text !== ""))
          yield* host.sh("rm /tmp/begun")
          return fiber
        })
        // Cut off, then both killed: the next one sweeps, and runs what it was sent itself.
        yield* Fiber.interrupt(yield* hang)
        assert.notStrictEqual(yield* requests, "")
        yield* host.sh(`${KILL_FOLLOWERS}
          ${KILL_DRIVER}`)
        const next = yield* hang
        assert.strictEqual((yield* requests).split("\n").length, 1)
        // Killed by a cleaning, while its follower lives.
        const { error } = yield* clean(cleanOf({ tenant: { ...tenant, fence: tenant.fence + 1 } }))
        assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* requests, "")
        yield* Fiber.interrupt(next)
        yield* eventually(Effect.map(out(`ls ${STATE} | grep incoming`), (text) => text === ""))
      })
    )

    it.live("who is refused takes what it launched along, when the driver was killed before anyone knew of it", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        const wait = '[ "$Q_verb" = clean ] || { : >/tmp/at; until [ -e /tmp/go ]; do sleep 0.1; done; }'
        host.rewrite = lateDriver(wait)
        const first = yield* Effect.forkChild(run(runOf("touch /tmp/ran")))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        const { error } = yield* clean(cleanOf({ tenant: { ...tenant, fence: 2 } }))
        assert.isUndefined(error, error?.message)
        assert.strictEqual((yield* Fiber.join(first)).error?.reason, "StaleFence")
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`find ${STATE} -type f`), `${STATE}/tenancy`)
      })
    )

    it.live("a number that means someone else by now protects nothing: no request, no process of a step", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        const daemon = "setsid sleep 2000 >/dev/null 2>&1 & echo $! >/tmp/daemon"
        assert.isUndefined((yield* run(runOf(daemon))).error)
        // As power loss leaves them: what followers of the last boot had.
        yield* host.sh(`echo SECRET >${STATE}/incoming.1.2
          cat /tmp/daemon >${STATE}/runs/c1/follow-1.2.kin; mkfifo ${STATE}/runs/c1/follow-1.2.fifo`)
        const { error } = yield* clean(cleanOf())
        assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* out(`find ${STATE} -type f`), `${STATE}/tenancy`)
        assert.strictEqual(yield* out("cat /proc/[0-9]*/cmdline | tr '\\000' ' ' | grep -c '[s]leep 2000'"), "0")
      })
    )

    it.live("a step that had not become itself when its driver died never does: it is run again", () =>
      Effect.gen(function* () {
        const { host, out, run } = yield* setUp()
        const wait = `{ mkdir /tmp/first && ${HELD}; } 2>/dev/null`
        host.rewrite = (text) =>
          text
            .replace("\nTICK_SECONDS=5\n", "\nTICK_SECONDS=0.1\n")
            .replace("\nbecome_step() {\n", (line) => `${line}  ${wait}\n`)
        const script = "echo x >>/tmp/ran; until [ -e /tmp/end ]; do sleep 0.1; done"
        const fiber = yield* Effect.forkChild(run(runOf(script)))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        yield* host.sh(KILL_DRIVER)
        yield* eventually(Effect.map(out("cat /tmp/ran 2>/dev/null"), (text) => text !== ""))
        yield* host.sh(`${letGo(2)}; touch /tmp/end`)
        const { error } = yield* Fiber.join(fiber)
        assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* out("cat /tmp/ran"), "x")
      })
    )

    it.live("a driver that died when the success was recorded leaves no secret to a host that is Ready", () =>
      Effect.gen(function* () {
        const { host, out, run } = yield* setUp()
        host.rewrite = (text) =>
          text
            .replace("\nTICK_SECONDS=5\n", "\nTICK_SECONDS=0.1\n")
            .replace("\nfailpoint() { :; }\n", () => '\nfailpoint() { [ "$1" != "end recorded" ] || kill -9 $$; }\n')
        const { error } = yield* run(runOf(": SECRET"))
        assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* out(`grep -rl SECRET ${STATE}`), "")
      })
    )

    it.live("a follower that goes on with another attempt is woken still: it starts that one's driver again, too", () =>
      Effect.gen(function* () {
        const { access, host, out, run, runs } = yield* setUp()
        host.rewrite = (text) => text.replace("\nTICK_SECONDS=5\n", "\nTICK_SECONDS=0.1\n")
        const script = `echo x >>/tmp/begun
          case $(grep -c x /tmp/begun) in
            1) until [ -e /tmp/go ]; do sleep 0.1; done; exit 1 ;;
            2) read -r boot pid start <${STATE}/runs/c1/driver; kill -9 $pid; sleep 600 ;;
          esac`
        const first = yield* Effect.forkChild(Effect.exit(Stream.runDrain(runs.run(access, runOf(script)))))
        yield* eventually(Effect.map(out("cat /tmp/begun 2>/dev/null"), (text) => text === "x"))
        yield* Fiber.interrupt(first)
        yield* host.sh(`for f in ${STATE}/runs/c1/follow-*; do case $f in *.fifo) f=\${f#*follow-}; kill -9 "\${f%%.*}" ;; esac; done
          rm ${STATE}/runs/c1/follow-*`)
        const second = yield* Effect.forkChild(run(runOf(script, { attempt: 2 })))
        yield* eventually(Effect.map(out(`ls ${STATE}/runs/c1/follow-*.fifo 2>/dev/null`), (text) => text !== ""))
        yield* host.sh("sleep 0.5; touch /tmp/go")
        const { error } = yield* Effect.orDie(Effect.timeout(Fiber.join(second), "20 seconds"))
        assert.isUndefined(error, error?.message)
        assert.strictEqual(yield* out("grep -c x /tmp/begun"), "3")
      })
    )

    it.live("a step that takes its driver down is started again a bounded number of times, then it has failed", () =>
      Effect.gen(function* () {
        const { host, out, run } = yield* setUp()
        host.rewrite = (text) => text.replace("\nTICK_SECONDS=5\n", "\nTICK_SECONDS=0.1\n")
        const request = runOf(
          `echo x >>/tmp/begun; read -r boot pid start <${STATE}/runs/c1/driver; kill -9 $pid; sleep 600`
        )
        const first = yield* run(request)
        assert.deepStrictEqual([first.error?.reason, first.error?.retry], ["DriverFailed", "backoff"])
        const second = yield* run(request)
        assert.deepStrictEqual([second.error?.reason, second.error?.exitCode], ["StepFailed", 137])
        assert.strictEqual(second.told.filter((one) => one === "StepInterrupted 0").length, 5)
        assert.strictEqual(yield* out("grep -c x /tmp/begun"), "5")
        assert.strictEqual(yield* out("cat /proc/[0-9]*/cmdline | tr '\\000' ' ' | grep -c '[s]leep 600'"), "0")
      })
    )

    it.live("a driver that can't live is given up on, with its last words", () =>
      Effect.gen(function* () {
        const { host, run } = yield* setUp()
        host.rewrite = (text) =>
          text
            .replace("\nTICK_SECONDS=5\n", "\nTICK_SECONDS=0.1\n")
            .replace("\ndrive_run() {\n", "\ndrive_run() {\necho of old age >&2; exit 9\n")
        const { error } = yield* run(runOf("true"))
        assert.strictEqual(error?.reason, "DriverFailed")
        assert.include(error?.message, "of old age")
      })
    )
  }
)
