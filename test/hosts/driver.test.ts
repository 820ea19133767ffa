/**
 * Holds what is the shell driver's own, beside the conformance suite that it shares with the in-memory host: what it
 * leaves in memory, on disk and in the process table, and what it does to input that nobody should send. On real
 * shells in private roots (LocalShell.ts).
 */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { driverText } from "../../src/hosts/driver/Exec.ts"
import type { HostError } from "../../src/hosts/HostError.ts"
import {
  type CleanRequest,
  type HostAccess,
  HostRuns,
  type RunProgress,
  type RunRequest
} from "../../src/hosts/HostRuns.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { SENTINEL } from "../../src/hosts/Protocol.ts"
import { type LocalHostOptions, makeLocalHost, shells, unavailable } from "./LocalShell.ts"

const tenant = { claim: "c1", machine: "default/m1", cluster: "u1", fence: 1 }
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const STATE = "/var/lib/machinist"

const runOf = (script: string, more: Partial<RunRequest> = {}): RunRequest => ({
  verb: "run",
  tenant,
  dataHash: "abc",
  attempt: 1,
  files: [],
  steps: [{ name: "only", script }],
  sentinel: false,
  stepTimeoutSeconds: 60,
  ...more
})
const cleanOf = (more: Partial<CleanRequest> = {}): CleanRequest => ({
  verb: "clean",
  tenant,
  attempt: 1,
  steps: [],
  remove: [],
  verify: { k0s: true, paths: [] },
  stepTimeoutSeconds: 60,
  ...more
})

const setUp = (options: LocalHostOptions = {}) =>
  Effect.gen(function* () {
    const host = yield* makeLocalHost(options)
    const context = yield* Layer.build(Layer.provide(LiveHostRuns.layer, host.layer))
    const runs = Context.get(context, HostRuns)
    const access: HostAccess = { target: host.target, useSudo: false }
    const play = (stream: Stream.Stream<RunProgress, HostError>) =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const result = yield* Effect.result(
          Stream.runForEach(stream, (one) =>
            Effect.sync(() =>
              told.push(
                [one._tag, ...("step" in one ? [one.step] : []), ...("code" in one ? [one.code] : [])].join(" ")
              )
            )
          )
        )
        return { told, error: Result.isFailure(result) ? result.failure : undefined }
      })
    return {
      host,
      runs,
      access,
      run: (request: RunRequest) => play(runs.run(access, request)),
      clean: (request: CleanRequest) => play(runs.clean(access, request)),
      out: (script: string) => Effect.map(host.sh(script), ({ stdout }) => stdout.trim())
    }
  })

const eventually = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  condition.pipe(
    Effect.flatMap((holds) => (holds ? Effect.void : Effect.fail("not yet"))),
    Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 400 }),
    Effect.orDie
  )

/** Processes of the driver, whatever role; `[s]h` so that the question is not its own answer. */
const DRIVERS = `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\000' ' ' | grep -c -e '[s]h ${STATE}/' -e '[s]h -c umask 077'`

/** SIGKILL to who follows run c1, and to its driver. */
const KILL_FOLLOWERS = `for f in ${STATE}/runs/c1/follow-*.fifo; do f=\${f#*follow-}; kill -9 "\${f%%.*}"; done`
const KILL_DRIVER = `read -r boot pid start <${STATE}/runs/c1/driver; kill -9 "$pid"`

/** A driver that was launched does this before anybody can know of it. */
const lateDriver =
  (script: string) =>
  (text: string): string =>
    text.replace('\n  parse_request "$0" || exit 1\n', (line) => `${line}  ${script}\n`)

describe("the text", () => {
  for (const shell of shells)
    it(`is understood by ${shell}`, () => {
      const [command, ...args] = { dash: ["dash"], bash: ["bash", "--posix"], busybox: ["busybox", "ash"] }[shell]
      const { status, stderr } = spawnSync(command ?? "sh", [...args, "-n"], { input: driverText })
      assert.strictEqual(status, 0, stderr.toString())
    })

  it("does nothing when it was cut short", () => {
    const lines = driverText.split("\n")
    for (let end = 0; end < lines.length - 6; end += 23) {
      const { stdout } = spawnSync("sh", ["-s"], { input: lines.slice(0, end).join("\n") })
      assert.strictEqual(stdout.toString(), "", `after ${end} lines`)
    }
  })
})

describe.skipIf(unavailable !== undefined)(
  `the driver on a host${unavailable === undefined ? "" : `: skipped, ${unavailable}`}`,
  () => {
    for (const shell of shells)
      it.live(`${shell}: /etc/environment is read as written, and never executed`, () =>
        Effect.gen(function* () {
          const { host, out, run } = yield* setUp({ shell })
          yield* host.sh(`cat >/etc/environment <<'END'
# a comment
PLAIN=one two
export EXPORTED="three four"
export	TABBED='five # six'
  INDENTED=seven   # eight
EVIL=$(touch /tmp/evil)\`touch /tmp/evil\`
PATH="/opt/tools:/usr/bin:$PATH"
OPTIND=nonsense
UID=12
PPID=3
IFS=x
9BAD=1
BAD-NAME=1
no assignment
MACHINIST_CLAIM=forged
DIR=/elsewhere
EQUALS=a=b=c
CR=carriage\r
LAST=no newline
END
printf 'LAST=no newline' >>/etc/environment`)
          const { error } = yield* run(runOf("env >/tmp/env; printf '%s' \"$DIR\" >/tmp/dir"))
          assert.isUndefined(error, error?.message)
          const env = new Map(
            (yield* out("cat /tmp/env")).split("\n").map((line) => {
              const at = line.indexOf("=")
              return [line.slice(0, at), line.slice(at + 1)] as const
            })
          )
          assert.deepInclude(Object.fromEntries(env), {
            PLAIN: "one two",
            EXPORTED: "three four",
            TABBED: "five # six",
            INDENTED: "seven",
            EVIL: "$(touch /tmp/evil)`touch /tmp/evil`",
            PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/tools",
            EQUALS: "a=b=c",
            LAST: "no newline",
            HOME: "/root",
            MACHINIST_CLAIM: "c1"
          })
          for (const name of ["OPTIND", "9BAD", "BAD-NAME", "LC_ALL", "MACHINIST_DRIVER"])
            assert.isFalse(env.has(name), name)
          assert.strictEqual(yield* out("ls /tmp/evil 2>/dev/null"), "")
        })
      )

    it.live(
      "files come with mode and owner, whole or not at all; cleaning removes those that were not there before",
      () =>
        Effect.gen(function* () {
          const { clean, host, out, run } = yield* setUp()
          yield* host.sh("mkdir -p /etc/own; echo old >/etc/own/kept; ln -s /etc/own/kept /etc/own/link")
          const file = (path: string, more: Partial<RunRequest["files"][number]> = {}) => ({
            path,
            content: bytes("new\u0000\n"),
            mode: "0640",
            ...more
          })
          const { error } = yield* run(
            runOf("true", {
              workingDir: "/etc/machine dir",
              files: [
                file("/etc/own/kept"),
                file("/etc/own/link"),
                file("/etc/own/added", { owner: "daemon:adm", mode: "4755" }),
                file("/srv/a b/c*d/$e", { content: bytes("") })
              ]
            })
          )
          assert.isUndefined(error, error?.message)
          assert.strictEqual(
            yield* out("stat -c '%a %U:%G %F %n' /etc/own/* '/srv/a b/c*d/$e' '/srv/a b'"),
            [
              "4755 daemon:adm regular file /etc/own/added",
              "640 root:root regular file /etc/own/kept",
              "640 root:root regular file /etc/own/link",
              "640 root:root regular empty file /srv/a b/c*d/$e",
              "755 root:root directory /srv/a b"
            ].join("\n")
          )
          assert.strictEqual(yield* out("tr '\\000' '0' </etc/own/kept"), "new0")
          assert.isUndefined((yield* clean(cleanOf())).error)
          assert.strictEqual(
            yield* out("ls -A /etc/own; ls -d '/srv/a b' '/etc/machine dir' 2>/dev/null"),
            "kept\nlink"
          )
        })
    )

    it.live("a file that can't be written is told, and the run goes on once it can", () =>
      Effect.gen(function* () {
        const { host, run } = yield* setUp()
        yield* host.sh("mkdir -p /etc/taken")
        const request = runOf("true", { files: [{ path: "/etc/taken", content: bytes("x"), mode: "0644" }] })
        const { error } = yield* run(request)
        assert.deepStrictEqual([error?.reason, error?.retry], ["DriverFailed", "backoff"])
        assert.include(error?.message, "/etc/taken: it is a directory")
        yield* host.sh("rmdir /etc/taken")
        assert.deepStrictEqual(yield* run(request), {
          told: ["Attached", "StepStarted 0", "StepEnded 0 0"],
          error: undefined
        })
      })
    )

    it.live("secrets are in no argument list, and nowhere below the state directory once the run is over", () =>
      Effect.gen(function* () {
        const { out, run } = yield* setUp()
        const { error } = yield* run(
          runOf(
            `: t0p-secret; cat /proc/[0-9]*/cmdline | tr '\\000' ' ' >/tmp/args; ls -lR ${STATE} >/tmp/state; id -u >/tmp/uid`,
            { files: [{ path: "/etc/token", content: bytes("t0p-secret"), mode: "0600" }] }
          )
        )
        assert.isUndefined(error, error?.message)
        assert.notInclude(yield* out("cat /tmp/args"), "t0p-secret")
        assert.notMatch(yield* out("cat /tmp/state"), /^-..[^-]|^-...[^-]|^d......[^-]|^-......[^-]/m)
        assert.strictEqual(yield* out(`grep -rl t0p-secret ${STATE}; stat -c %a ${STATE}`), "700")
      })
    )

    for (const shell of shells)
      it.live(`${shell}: a step's script arrives byte by byte, whatever it holds and however long it is`, () =>
        Effect.gen(function* () {
          const { out, run } = yield* setUp({ shell })
          const every = String.fromCharCode(...Array.from({ length: 0x17e }, (_, index) => index + 1))
          const copy = (name: string, rest: string) => ({ name, script: `cat "$0" >/tmp/${name}; exit 0\n${rest}` })
          const steps = [
            copy("every", `${every} \u{1f680}\n\n#|x\n#.y\n#step z\n#machinist-end\n \t \\\n\n`),
            copy("last-line", "* $(x) `y` no newline "),
            copy("long", "a line of many, none of which is run\n".repeat(12_000)),
            copy("long-line", "x".repeat(100_000))
          ]
          const { error } = yield* run(runOf("", { steps }))
          assert.isUndefined(error, error?.message)
          for (const { name, script } of steps)
            assert.strictEqual(
              yield* out(`sha256sum </tmp/${name} | cut -d ' ' -f 1`),
              createHash("sha256").update(script).digest("hex"),
              name
            )
        })
      )

    const NO_CHATTR = "echo 'setting flags on journal: Operation not supported' >&2"
    /** What a run of two steps syncs, in order with the steps; `chattr` is what answers in that tool's place. */
    const syncedAround = (chattr?: string) =>
      Effect.gen(function* () {
        const { host, out, run } = yield* setUp()
        const put = (tool: string, script: string) =>
          host.sh(`cat >/usr/local/sbin/${tool} <<'END'\n#!/bin/sh\n${script}\nEND\nchmod 755 /usr/local/sbin/${tool}`)
        yield* put("sync", 'echo "sync $*" >>/tmp/order')
        if (chattr !== undefined) yield* put("chattr", chattr)
        const script = (name: string) =>
          `echo ${name} >>/tmp/order; lsattr ${STATE}/runs/c1/journal 2>/dev/null | cut -d ' ' -f 1 >/tmp/flags`
        const { error } = yield* run(
          runOf("", { steps: ["first", "second"].map((name) => ({ name, script: script(name) })) })
        )
        assert.isUndefined(error, error?.message)
        return { order: (yield* out("cat /tmp/order")).split("\n"), flags: yield* out("cat /tmp/flags") }
      })
    const before = [
      `sync ${STATE}/runs/c1/journal ${STATE}/runs/c1 ${STATE}/runs ${STATE}/tenancy.new`,
      `sync ${STATE}/runs/c1/journal ${STATE}`
    ]

    for (const [title, chattr] of [
      ["refuses", `${NO_CHATTR}; exit 1`],
      ["refuses and ends well, as BusyBox's", NO_CHATTR]
    ] as const)
      it.live(`where chattr ${title}: all is on disk before a step starts, the end before anybody is told`, () =>
        Effect.gen(function* () {
          const { flags, order } = yield* syncedAround(chattr)
          assert.deepStrictEqual(order, [
            ...before,
            "first",
            `sync -d ${STATE}/runs/c1/journal`,
            "second",
            `sync -d ${STATE}/runs/c1/journal ${STATE}/tenancy`
          ])
          assert.notInclude(flags, "S")
        })
      )

    it.live("where a file's writes can be made synchronous, the journal's are, and need no process", () =>
      Effect.gen(function* () {
        const { flags, order } = yield* syncedAround()
        assert.deepStrictEqual(order, [...before, "first", "second"])
        assert.include(flags, "S")
      })
    )

    it.live("a tenancy record that may be lost is on disk before any file is placed", () =>
      Effect.gen(function* () {
        const { host, out, run } = yield* setUp()
        yield* host.sh(`printf '#!/bin/sh\\necho "sync $* $(ls /srv/placed 2>&1 >/dev/null)" >>/tmp/order\\n' >/usr/local/sbin/sync
          chmod 755 /usr/local/sbin/sync`)
        const files = [{ path: "/srv/placed/file", content: bytes("x"), mode: "0644" }]
        assert.isUndefined((yield* run(runOf("true", { files }))).error)
        const order = (yield* out("cat /tmp/order")).split("\n")
        assert.match(order.find((line) => line.startsWith(`sync ${STATE} `)) ?? "", /No such file/)
      })
    )

    it.live("a disk that does not take a record ends the run before the step that it is of", () =>
      Effect.gen(function* () {
        const { host, out, run } = yield* setUp()
        yield* host.sh(`printf '#!/bin/sh\\n[ -e /tmp/broken ] && [ $# -gt 0 ] && exit 1; exit 0\\n' >/usr/local/sbin/sync
          printf '#!/bin/sh\\nexit 1\\n' >/usr/local/sbin/chattr
          chmod 755 /usr/local/sbin/sync /usr/local/sbin/chattr`)
        const { error } = yield* run(
          runOf("", {
            steps: [
              { name: "first", script: "touch /tmp/broken" },
              { name: "second", script: "touch /tmp/ran" }
            ]
          })
        )
        assert.strictEqual(error?.reason, "DriverFailed")
        assert.strictEqual(yield* out("ls /tmp/ran 2>/dev/null"), "")
      })
    )

    it.live("what a step says is kept; little of it in one piece, much of it in the last ones", () =>
      Effect.gen(function* () {
        const { out, run } = yield* setUp()
        const OUT = `${STATE}/runs/c1/out`
        assert.isUndefined((yield* run(runOf("echo a; sleep 0.1; echo b"))).error)
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`ls ${OUT}`), "last\nnew.err.now\nnew.log.now\nnew.stderr\nnew.stdout")
        assert.match(yield* out(`cat ${OUT}/new.log.now`), /^machinist: step 0, .*\na\nb$/)
        const loud = "i=0; while [ $i -lt 5 ]; do head -c 1000000 /dev/zero; i=$((i+1)); done; echo end; exit 1"
        const steps = [{ name: "loud", script: loud }]
        const { run: runThere, out: outThere } = yield* setUp()
        assert.strictEqual((yield* runThere(runOf("", { steps }))).error?.exitCode, 1)
        yield* eventually(Effect.map(outThere(DRIVERS), (count) => count === "0"))
        assert.include(yield* outThere(`ls ${OUT}`), "new.log.older\n")
        assert.strictEqual(yield* outThere(`tail -c 4 ${OUT}/new.log.now`), "end")
        const size = Number(yield* outThere(`cat ${OUT}/new.log.* | wc -c`))
        assert.isAtMost(size, 3 * 2 ** 20)
        assert.isAtLeast(size, 2 ** 20)
      })
    )

    it.live("a session that inherited a step's tag from a restarted sshd is spared by the cleaning it asks for", () =>
      Effect.gen(function* () {
        const { clean, run } = yield* setUp({ env: { MACHINIST_CLAIM: "c1", MACHINIST_STEP: "c1.run.0" } })
        assert.isUndefined((yield* run(runOf("true"))).error)
        const { error } = yield* clean(cleanOf())
        assert.isUndefined(error, error?.message)
      })
    )

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

    it.live("without root nothing is done, and useSudo is named", () =>
      Effect.gen(function* () {
        const { access, out, run, runs } = yield* setUp({ uid: 65534 })
        const { error } = yield* run(runOf("touch /tmp/ran"))
        assert.strictEqual(error?.reason, "Unsupported")
        assert.include(error?.message, "useSudo: true")
        const inspected = yield* Effect.flip(runs.inspect(access, tenant))
        assert.strictEqual(inspected.reason, "Unsupported")
        assert.strictEqual(yield* out(`ls ${STATE} /tmp/ran 2>/dev/null`), "")
      })
    )

    it.live("a damaged tenancy record is nobody's: refused until a person has looked", () =>
      Effect.gen(function* () {
        const { access, clean, host, out, run, runs } = yield* setUp()
        yield* host.sh(`mkdir -p ${STATE}; printf 'claim c1\\nfence' >${STATE}/tenancy`)
        assert.strictEqual((yield* run(runOf("touch /tmp/ran"))).error?.reason, "DriverFailed")
        assert.strictEqual((yield* clean(cleanOf())).error?.reason, "DriverFailed")
        assert.include((yield* Effect.flip(runs.inspect(access, tenant))).message, "damaged")
        assert.strictEqual(yield* out("ls /tmp/ran 2>/dev/null"), "")
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

    it.live("a driver that was launched before a cleaning, and is late, begins nothing in it", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        // Nobody can tell what it is yet: neither its environment nor a file says so.
        const wait = '[ "$Q_verb" = clean ] || { : >/tmp/at; until [ -e /tmp/go ]; do sleep 0.1; done; }'
        host.rewrite = (text) => text.replace("\n  MACHINIST_DRIVER=$5\n", (line) => `\n  ${wait}${line}`)
        const first = yield* Effect.forkChild(run(runOf("echo x >>/tmp/ran")))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        const step = { name: "only", script: ": >/tmp/cleaning; until [ -e /tmp/end ]; do sleep 0.1; done" }
        const second = yield* Effect.forkChild(clean(cleanOf({ tenant: { ...tenant, fence: 2 }, steps: [step] })))
        yield* eventually(Effect.map(out("ls /tmp/cleaning 2>/dev/null"), (text) => text !== ""))
        yield* host.sh("touch /tmp/go; sleep 1; touch /tmp/end")
        const { error } = yield* Fiber.join(second)
        assert.isUndefined(error, error?.message)
        assert.strictEqual((yield* Fiber.join(first)).error?.reason, "StaleFence")
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`ls /tmp/ran 2>/dev/null; find ${STATE} -type f`), `${STATE}/tenancy`)
      })
    )

    it.live("a step that had not become itself when a cleaning killed its driver never does", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        const wait = "{ mkdir /tmp/first && : >/tmp/at && until [ -e /tmp/go ]; do sleep 0.1; done; } 2>/dev/null"
        const between = /kill_tagged '.*of the run.*\n/
        host.rewrite = (text) =>
          text
            .replace("\n  bs_session=", (line) => `\n  ${wait}${line}`)
            // Between one look for what is to be killed and the next.
            .replace(between, (line) => `${line}  : >/tmp/go; sleep 1\n`)
        const first = yield* Effect.forkChild(Effect.exit(run(runOf("touch /tmp/ran; sleep 2000"))))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        const { error } = yield* clean(cleanOf({ tenant: { ...tenant, fence: 2 } }))
        assert.isUndefined(error, error?.message)
        yield* Fiber.interrupt(first)
        assert.strictEqual(yield* out("ls /tmp/go /tmp/ran 2>/dev/null"), "/tmp/go")
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

    it.live("a cleaning that is slow at its end takes nothing of the next tenant's with it", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        const wait = "{ echo $$ >/tmp/at; until [ -e /tmp/go ]; do sleep 0.1; done; }"
        host.rewrite = (text) =>
          text.replace("\nfailpoint() { :; }\n", () => `\nfailpoint() { [ "$1" != bury ] || ${wait}; }\n`)
        const first = yield* Effect.forkChild(clean(cleanOf()))
        yield* eventually(Effect.map(out("cat /tmp/at 2>/dev/null"), (text) => text !== ""))
        const next = runOf(": >/tmp/begun; until [ -e /tmp/end ]; do sleep 0.1; done", {
          tenant: { ...tenant, claim: "c2", fence: 2 }
        })
        const second = yield* Effect.forkChild(run(next))
        // Longer than a follower waits for the rest to go.
        yield* host.sh("sleep 3; touch /tmp/go; while [ -e /proc/$(cat /tmp/at) ]; do sleep 0.1; done")
        yield* eventually(Effect.map(out("ls /tmp/begun 2>/dev/null"), (text) => text !== ""))
        assert.strictEqual(yield* out(`ls ${STATE}/runs`), "c2")
        yield* host.sh("touch /tmp/end")
        for (const { error } of yield* Effect.forEach([first, second], Fiber.join))
          assert.isUndefined(error, error?.message)
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
        const wait = "{ mkdir /tmp/first && : >/tmp/at && until [ -e /tmp/go ]; do sleep 0.1; done; } 2>/dev/null"
        host.rewrite = (text) =>
          text
            .replace("\nTICK_SECONDS=5\n", "\nTICK_SECONDS=0.1\n")
            .replace("\nbecome_step() {\n", (line) => `${line}  ${wait}\n`)
        const script = "echo x >>/tmp/ran; until [ -e /tmp/end ]; do sleep 0.1; done"
        const fiber = yield* Effect.forkChild(run(runOf(script)))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        yield* host.sh(KILL_DRIVER)
        yield* eventually(Effect.map(out("cat /tmp/ran 2>/dev/null"), (text) => text !== ""))
        yield* host.sh("touch /tmp/go; sleep 1; touch /tmp/end")
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

    it.live("a run of more steps than a journal has room for at first makes room in time", () =>
      Effect.gen(function* () {
        const { out, run } = yield* setUp()
        const count = 90
        const steps = Array.from({ length: count }, (_, index) => ({ name: `${index}`, script: "echo x >>/tmp/begun" }))
        const { error, told } = yield* run(runOf("", { steps }))
        assert.isUndefined(error, error?.message)
        assert.strictEqual(told.at(-1), `StepEnded ${count - 1} 0`)
        assert.strictEqual(yield* out("grep -c x /tmp/begun"), `${count}`)
        assert.strictEqual(yield* out(`wc -c <${STATE}/runs/c1/journal`), `${(2 + 128 + 128) * 128}`)
      })
    )

    it.live("a step that was killed has failed, and is not taken for interrupted", () =>
      Effect.gen(function* () {
        const { run } = yield* setUp()
        const { error, told } = yield* run(runOf("echo last words >&2; kill -9 $$"))
        assert.deepStrictEqual(told, ["Attached", "StepStarted 0", "StepEnded 0 137"])
        assert.deepStrictEqual([error?.reason, error?.exitCode, error?.stderr], ["StepFailed", 137, "last words"])
      })
    )

    it.live("only the last words of a talkative step are told, without what terminals obey", () =>
      Effect.gen(function* () {
        const { run } = yield* setUp()
        const { error } = yield* run(
          runOf(
            "i=0; while [ $i -lt 3000 ]; do echo \"line $i\"; i=$((i+1)); done >&2; printf '\\033[31mred\\a\\n' >&2; exit 3"
          )
        )
        assert.strictEqual(error?.exitCode, 3)
        const stderr = error?.stderr ?? ""
        assert.isAtMost(stderr.length, 2048)
        assert.match(stderr, /line 2998\nline 2999\n\[31mred$/)
      })
    )

    it.live(
      "the last words are the failed step's own, though a daemon of an earlier one talks on, and is not hit",
      () =>
        Effect.gen(function* () {
          const { host, out, run } = yield* setUp()
          const daemon =
            "setsid sh -c 'while [ ! -e /tmp/enough ]; do echo babble >&2; sleep 0.05; done; echo unhurt >/tmp/daemon' &"
          const { error } = yield* run(
            runOf("", {
              steps: [
                { name: "quiet", script: "echo early words >&2" },
                { name: "daemon", script: daemon },
                { name: "fails", script: "sleep 0.3; echo own words >&2; exit 4" }
              ]
            })
          )
          assert.deepStrictEqual([error?.step, error?.exitCode, error?.stderr], [2, 4, "own words"])
          yield* host.sh("sleep 0.3; touch /tmp/enough")
          yield* eventually(Effect.map(out("cat /tmp/daemon 2>/dev/null"), (text) => text === "unhurt"))
        })
    )

    it.live("without a daemon all steps share one pair of readers, and the last words are still the last step's", () =>
      Effect.gen(function* () {
        const { out, run } = yield* setUp()
        const names = ["one", "two", "three"]
        const steps = names.map((name) => ({ name, script: `echo ${name} said >&2; printf 'no newline' >&2` }))
        const { error } = yield* run(
          runOf("", { steps: [...steps, { name: "fails", script: "echo mine >&2; exit 1" }] })
        )
        assert.strictEqual(error?.stderr, "mine")
        assert.strictEqual(yield* out(`ls ${STATE}/runs/c1/out/*.stderr | wc -l`), "1")
      })
    )

    it.live("each step has the whole time limit for itself, and only the one that exceeds it is ended", () =>
      Effect.gen(function* () {
        const { out, run } = yield* setUp()
        const steps = ["sleep 1.5", "sleep 1.5", "sleep 1.5", "echo hangs >&2; sleep 600"].map((script, index) => ({
          name: `${index}`,
          script
        }))
        const { error } = yield* run(runOf("", { steps, stepTimeoutSeconds: 2 }))
        assert.deepStrictEqual([error?.step, error?.exitCode], [3, 124])
        assert.match(error?.stderr ?? "", /^hangs\n.*timed out after 2 s/)
        assert.strictEqual(yield* out("cat /proc/[0-9]*/cmdline | tr '\\000' ' ' | grep -c '[s]leep 600'"), "0")
      })
    )

    it.live("a cleaning's step that is out of time does not taint the next one", () =>
      Effect.gen(function* () {
        const { clean } = yield* setUp()
        const steps = ["sleep 600", "true", "exit 5"].map((script, index) => ({ name: `${index}`, script }))
        const { error, told } = yield* clean(cleanOf({ steps, stepTimeoutSeconds: 1 }))
        assert.isUndefined(error)
        assert.deepStrictEqual(
          told.filter((one) => one.startsWith("StepEnded")),
          ["StepEnded 0 124", "StepEnded 1 0", "StepEnded 2 5"]
        )
      })
    )

    it.live("of two records written at once, the second is none when power loss kept it and not the first", () =>
      Effect.gen(function* () {
        const { host, out, run } = yield* setUp()
        const request = runOf("echo x >>/tmp/begun; until [ -e /tmp/go ]; do sleep 0.1; done")
        const first = yield* Effect.forkChild(run(request))
        yield* eventually(Effect.map(out("cat /tmp/begun 2>/dev/null"), (text) => text === "x"))
        yield* Effect.andThen(host.reboot, Fiber.join(first))
        // Records 0 to 3 are begin, attempt, files, start; 4 was lost, and 5 is the success that went with it.
        yield* host.sh(
          `printf '%-127s\\n' 'ok .' | dd of=${STATE}/runs/c1/journal bs=128 seek=5 conv=notrunc 2>/dev/null; touch /tmp/go`
        )
        // Nothing but the record before it keeps it from being read: the next driver dies once it has written that.
        host.rewrite = (text) =>
          text
            .replace("\nTICK_SECONDS=5\n", "\nTICK_SECONDS=0.1\n")
            .replace(
              "\nfailpoint() { :; }\n",
              () =>
                '\nfailpoint() { case $1 in "journal interrupted 0 written") [ -e /tmp/died ] || { : >/tmp/died; kill -9 $$; } ;; esac; }\n'
            )
        const { error, told } = yield* run(request)
        assert.isUndefined(error)
        assert.strictEqual(yield* out("ls /tmp/died"), "/tmp/died")
        assert.deepStrictEqual(told.slice(-2), ["StepStarted 0", "StepEnded 0 0"])
        // A reboot empties /tmp: this is the second time.
        assert.strictEqual(yield* out("grep -c x /tmp/begun"), "1")
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

    it.live("an sshd that a step restarted carries its tag, and is neither killed nor a leftover", () =>
      Effect.gen(function* () {
        const { clean, out, run } = yield* setUp()
        const start = ["sshd", "agent"].map(
          (name) => `cp "$(command -v sleep)" /tmp/${name}; setsid /tmp/${name} 1000 >/dev/null 2>&1 &`
        )
        assert.isUndefined((yield* run(runOf(start.join("\n")))).error)
        const comms = "cat /proc/[0-9]*/comm | grep -x -e sshd -e agent | sort"
        yield* eventually(Effect.map(out(comms), (text) => text === "agent\nsshd"))
        assert.isUndefined((yield* clean(cleanOf())).error)
        assert.strictEqual(yield* out(comms), "sshd")
      })
    )

    it.live("nothing but the tombstone is left of us: no file, no process", () =>
      Effect.gen(function* () {
        const { clean, out, run } = yield* setUp()
        const step = `mkdir -p ${SENTINEL.slice(0, SENTINEL.lastIndexOf("/"))}; touch ${SENTINEL}; (trap '' TERM HUP; while :; do sleep 1; done) &`
        assert.isUndefined((yield* run(runOf(step, { sentinel: true }))).error)
        assert.isUndefined((yield* clean(cleanOf())).error)
        assert.strictEqual(yield* out(`find ${STATE} -type f; ls -d /run/cluster-api 2>/dev/null`), `${STATE}/tenancy`)
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.include(yield* out(`cat ${STATE}/tenancy`), "state free")
      })
    )

    it.live("nor the locks of drivers and followers that were killed", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        assert.isUndefined((yield* run(runOf("true"))).error)
        // As one leaves them that is killed between leaving the lock and its end; no such process lives.
        yield* host.sh(`for kind in choosing ticket-3; do : >${STATE}/lock/dead-boot.4242.17.1.$kind; done`)
        assert.isUndefined((yield* clean(cleanOf())).error)
        assert.strictEqual(yield* out(`find ${STATE} -type f`), `${STATE}/tenancy`)
      })
    )

    it.live("whoever is told that the host is clean leaves nothing, though the driver died before it could", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        assert.isUndefined((yield* run(runOf("true"))).error)
        host.rewrite = (text) =>
          text.replace("\nfailpoint() { :; }\n", () => '\nfailpoint() { [ "$1" != bury ] || kill -9 $$; }\n')
        assert.isUndefined((yield* clean(cleanOf())).error)
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`find ${STATE} -type f`), `${STATE}/tenancy`)
      })
    )

    it.live("a directory at the top is never removed, whatever the list says", () =>
      Effect.gen(function* () {
        const { clean, out, run } = yield* setUp()
        assert.isUndefined((yield* run(runOf("mkdir -p /precious; touch /precious/x /gone"))).error)
        const { error } = yield* clean(cleanOf({ remove: ["/precious", "/gone"] }))
        assert.deepStrictEqual(error?.leftovers, ["/precious"])
        assert.strictEqual(yield* out("ls /precious; ls /gone 2>/dev/null"), "x")
      })
    )

    it.live("quarantine marks the host, whoever asks next; only its own claim may", () =>
      Effect.gen(function* () {
        const { access, clean, run, runs } = yield* setUp()
        yield* runs.quarantine(access, tenant)
        yield* runs.quarantine(access, tenant)
        assert.strictEqual((yield* runs.inspect(access, tenant)).tenancy?.state, "quarantined")
        assert.strictEqual((yield* run(runOf("true"))).error?.reason, "Quarantined")
        const other = { ...tenant, claim: "c2", fence: 9 }
        assert.strictEqual((yield* run(runOf("true", { tenant: other }))).error?.reason, "Quarantined")
        assert.strictEqual((yield* Effect.flip(runs.quarantine(access, other))).reason, "Quarantined")
        assert.isUndefined((yield* clean(cleanOf({ tenant: { ...tenant, fence: 2 } }))).error)
        assert.strictEqual((yield* Effect.flip(runs.quarantine(access, { ...tenant, fence: 2 }))).reason, "Released")
      })
    )
  }
)
