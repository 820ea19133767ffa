/** Holds what the driver's journal promises: on disk before what it tells of, with room in time, believed as far as it is whole. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { bytes, eventually, runOf, STATE, setUp } from "./DriverWorld.ts"
import { unavailable } from "./LocalShell.ts"

describe.skipIf(unavailable !== undefined)(
  `the journal on a host${unavailable === undefined ? "" : `: skipped, ${unavailable}`}`,
  () => {
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
  }
)
