/**
 * Owns the scenarios of a bootstrap: started, followed, left, found again, failed, tried again. Does not own cleaning,
 * refusals, nor kills (files beside this one).
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { SENTINEL } from "../../../src/hosts/Protocol.ts"
import {
  assertError,
  assertOnce,
  assertWell,
  bytes,
  cleanOf,
  count,
  daemon,
  eventuallyRuns,
  eventuallyTold,
  how,
  open,
  outcome,
  persistently,
  runOf,
  type Scenario,
  stateOf,
  step,
  success,
  told,
  waitFor
} from "./World.ts"

export const running: ReadonlyArray<Scenario> = [
  {
    title: "a fresh run writes the files, runs each step once and in order, and ends ready",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const path = `${host.dir}/written/by/us`
      const files = [{ path, content: bytes("hello\nworld"), mode: "0640" }]
      const result = yield* outcome(
        runs.run(host.access, runOf([step(host, "one", `cat ${path} >>${host.dir}/copy`), success(host)], { files }))
      )
      assertWell(result)
      assert.deepStrictEqual(result.progress, [
        { _tag: "Attached", how: "fresh" },
        { _tag: "StepStarted", step: 0 },
        { _tag: "StepEnded", step: 0, code: 0 },
        { _tag: "StepStarted", step: 1 },
        { _tag: "StepEnded", step: 1, code: 0 }
      ])
      assert.strictEqual(yield* host.readFile(`${host.dir}/log`), "begin one\nend one\nbegin success\nend success\n")
      assert.strictEqual(yield* host.readFile(`${host.dir}/copy`), "hello\nworld")
      assert.strictEqual(yield* stateOf(bench), "ready")
    })
  },
  {
    title: "each of a look, a run, a look, a look and a cleaning finds what the one before left",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const path = `${host.dir}/file`
      // Every byte, and more of them than any pipe or shell takes at once.
      const content = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 31 + (at >> 8)) % 256)
      assert.isUndefined(yield* stateOf(bench))
      const request = runOf([step(host, "one", `cp ${path} ${host.dir}/copy`), success(host)], {
        files: [{ path, content, mode: "0600" }]
      })
      assertWell(yield* outcome(runs.run(host.access, request)))
      const copied = yield* host.readFile(`${host.dir}/copy`)
      assert.isTrue(copied === Buffer.from(content).toString(), "every byte arrived")
      assert.strictEqual(yield* stateOf(bench), "ready")
      assert.strictEqual(yield* stateOf(bench, "claim-b"), "ready")
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([]))))
      assert.strictEqual(yield* stateOf(bench), "free")
      yield* assertOnce(host, "one", "success")
    })
  },
  {
    title: "an appended file is appended once, whatever came before it",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const path = `${host.dir}/appended`
      yield* host.writeFile(path, "before\n")
      const request = runOf([success(host)], {
        files: [{ path, content: bytes("after\n"), mode: "0644", append: true }]
      })
      assertWell(yield* outcome(runs.run(host.access, request)))
      assertWell(yield* outcome(runs.run(host.access, request)))
      assert.strictEqual(yield* host.readFile(path), "before\nafter\n")
    })
  },
  {
    title: "a second caller attaches to a run in flight, and is told what was recorded before",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const request = runOf([step(host, "one"), step(host, "two", waitFor(host, "two")), success(host)])
      const first = yield* Effect.forkChild(outcome(runs.run(host.access, request)))
      yield* eventuallyTold(host, "begin two")
      const second = yield* Effect.forkChild(outcome(runs.run(host.access, request)))
      yield* open(host, "two")
      const results = [yield* Fiber.join(first), yield* Fiber.join(second)] as const
      for (const result of results) {
        assertWell(result)
        assert.strictEqual(count(result, "StepEnded"), 3)
      }
      assert.strictEqual(how(results[0]), "fresh")
      assert.include(["attached", "ended"], how(results[1]))
      yield* assertOnce(host, "one", "two", "success")
    })
  },
  {
    title: "a run whose caller went away goes on by itself, and is found ended",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const request = runOf([step(host, "one", waitFor(host, "one")), step(host, "two"), success(host)])
      const caller = yield* Effect.forkChild(outcome(runs.run(host.access, request)))
      yield* eventuallyTold(host, "begin one")
      yield* Fiber.interrupt(caller)
      yield* open(host, "one")
      yield* eventuallyTold(host, "end success")
      const result = yield* outcome(runs.run(host.access, request))
      assertWell(result)
      assert.include(["attached", "ended"], how(result))
      assert.strictEqual(count(result, "StepEnded"), 3)
      const again = yield* outcome(runs.run(host.access, request))
      assert.strictEqual(how(again), "ended")
      assert.deepStrictEqual(
        again.progress.filter(({ _tag }) => _tag !== "Attached"),
        result.progress.filter(({ _tag }) => _tag !== "Attached")
      )
      yield* assertOnce(host, "one", "two", "success")
      assert.strictEqual(yield* stateOf(bench), "ready")
    })
  },
  {
    title: "two first callers at one time start one run",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const request = runOf([step(host, "one"), success(host)])
      const results = yield* Effect.all(
        [outcome(runs.run(host.access, request)), outcome(runs.run(host.access, request))],
        { concurrency: "unbounded" }
      )
      for (const result of results) assertWell(result)
      assert.strictEqual(results.filter((result) => how(result) === "fresh").length, 1)
      yield* assertOnce(host, "one", "success")
    })
  },
  {
    title: "a failed step ends the run with its code and last words; only a greater attempt runs it again",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const flaky = step(
        host,
        "flaky",
        `[ -e ${host.dir}/mended ] || echo it is broken >&2`,
        `[ -e ${host.dir}/mended ] || exit 7`
      )
      const request = runOf([step(host, "one"), flaky, success(host)])
      const failed = assertError(yield* outcome(runs.run(host.access, request)), "StepFailed")
      assert.strictEqual(failed.step, 1)
      assert.strictEqual(failed.exitCode, 7)
      assert.include(failed.stderr ?? "", "it is broken")
      assert.strictEqual(yield* stateOf(bench), "failed")
      yield* host.writeFile(`${host.dir}/mended`, "yes")
      const same = yield* outcome(runs.run(host.access, request))
      assert.strictEqual(assertError(same, "StepFailed").exitCode, 7)
      assert.strictEqual(how(same), "ended")
      assert.strictEqual((yield* told(host))("begin flaky"), 1)
      const next = yield* outcome(runs.run(host.access, { ...request, attempt: 2 }))
      assertWell(next)
      const times = yield* told(host)
      assert.strictEqual(times("begin flaky"), 2)
      yield* assertOnce(host, "one", "success")
      assert.strictEqual(yield* stateOf(bench), "ready")
    })
  },
  {
    title: "a run that ended well stays ended for a greater attempt",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const request = runOf([step(host, "one"), success(host)])
      assertWell(yield* outcome(runs.run(host.access, request)))
      const next = yield* outcome(runs.run(host.access, { ...request, attempt: 2 }))
      assertWell(next)
      assert.strictEqual(how(next), "ended")
      yield* assertOnce(host, "one", "success")
    })
  },
  {
    title: "no sentinel after the last step: no success, though every step succeeded",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      assertError(yield* outcome(runs.run(host.access, runOf([step(host, "one")]))), "NoSentinel")
      yield* assertOnce(host, "one")
      assert.strictEqual(yield* stateOf(bench), "failed")
    })
  },
  {
    title: "a stale sentinel is removed at the start and never taken for success",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      yield* host.writeFile(SENTINEL, "of an earlier life")
      assertError(yield* outcome(runs.run(host.access, runOf([step(host, "one")]))), "NoSentinel")
      assert.isUndefined(yield* host.readFile(SENTINEL))
    })
  },
  {
    title: "without the wish for a sentinel, the steps' success is enough",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      assertWell(yield* outcome(runs.run(host.access, runOf([step(host, "one")], { sentinel: false }))))
      yield* assertOnce(host, "one")
    })
  },
  {
    title: "a daemon that a step left behind outlives the run",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const steps = [step(host, "one", ...daemon(host, `${host.dir}/agent`)), success(host)]
      assertWell(yield* outcome(runs.run(host.access, runOf(steps))))
      yield* eventuallyRuns(host, "agent")
    })
  },
  {
    title: "a step that runs past its time is ended with code 124, and what it started with it",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const steps = [
        step(host, "slow", ...daemon(host, `${host.dir}/straggler`), waitFor(host, "never")),
        success(host)
      ]
      const result = yield* outcome(runs.run(host.access, runOf(steps, { stepTimeoutSeconds: 1 })))
      assert.strictEqual(assertError(result, "StepFailed").exitCode, 124)
      assert.strictEqual(yield* host.running("straggler"), 0)
    })
  },
  {
    title: "output without end is bounded on the host, and never stops the step",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const steps = [step(host, "loud", "head -c 20000000 /dev/zero | tr '\\0' x"), success(host)]
      assertWell(yield* outcome(runs.run(host.access, runOf(steps))))
      yield* assertOnce(host, "loud", "success")
      assert.isBelow(yield* host.stateBytes, 8 * 1024 * 1024)
    })
  },
  {
    title: "success survives a reboot, which empties /run",
    needs: ["reboot"],
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const request = runOf([step(host, "one"), success(host)])
      assertWell(yield* outcome(runs.run(host.access, request)))
      yield* host.reboot ?? Effect.void
      assert.isUndefined(yield* host.readFile(SENTINEL))
      const result = yield* persistently(outcome(runs.run(host.access, request)))
      assertWell(result)
      assert.strictEqual(how(result), "ended")
      yield* assertOnce(host, "one", "success")
    })
  },
  {
    title: "/etc/environment is read anew before each step, and never executed",
    needs: ["shell"],
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const line = 'export MONITORING="on $(touch /tmp/executed)"'
      const steps = [
        step(host, "set", `printf '%s\\n' '${line}' 'PLAIN=yes' >>/etc/environment`),
        step(host, "use", `printf '%s %s %s\\n' "$MONITORING" "$PLAIN" "$MACHINIST_CLAIM" >${host.dir}/seen`),
        success(host)
      ]
      assertWell(yield* outcome(runs.run(host.access, runOf(steps))))
      assert.strictEqual(yield* host.readFile(`${host.dir}/seen`), "on $(touch /tmp/executed) yes claim-a\n")
      assert.isUndefined(yield* host.readFile("/tmp/executed"))
    })
  },
  {
    title: "a step runs in the working directory, with stdin empty, in a shell of its own, with /usr/local/bin found",
    needs: ["shell"],
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const steps = [
        step(host, "cd", "VARIABLE=leaks; export VARIABLE", "cd /tmp"),
        step(host, "look", `{ pwd; echo "\${VARIABLE-unset}"; wc -c; echo ":$PATH:"; } >${host.dir}/seen`),
        success(host)
      ]
      const workingDir = `${host.dir}/work/dir`
      assertWell(yield* outcome(runs.run(host.access, runOf(steps, { workingDir }))))
      const [pwd, variable, stdin, path] = ((yield* host.readFile(`${host.dir}/seen`)) ?? "").split("\n")
      assert.strictEqual(pwd, workingDir)
      assert.strictEqual(variable, "unset")
      assert.strictEqual(stdin?.trim(), "0")
      assert.include(path ?? "", ":/usr/local/bin:")
    })
  }
]
