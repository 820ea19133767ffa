/**
 * Holds what is the shell driver's own, beside the conformance suite that it shares with the in-memory host: a step's files,
 * environment, script, output, last words and time limit. On real shells in private roots (LocalShell.ts), as its neighbours:
 * what is on disk when (journal.test.ts), who drives and who follows (handover.test.ts), what stays (cleaning.test.ts).
 */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { driverText } from "../../src/hosts/driver/Exec.ts"
import type { RunRequest } from "../../src/hosts/HostRuns.ts"
import { bytes, cleanOf, DRIVERS, eventually, runOf, STATE, setUp } from "./DriverWorld.ts"
import { shells, unavailable } from "./LocalShell.ts"

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
  }
)
