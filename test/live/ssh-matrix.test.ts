/**
 * Holds the host layer, over real OpenSSH and the real driver, to hosts as people have them: each kind of user and of
 * sudo, each login shell, file systems that refuse, a disk that fills up, a clock that jumps, PAM limits, a banner and
 * chatty profiles. Where a host can be used, a bootstrap runs each step once and is cleaned; where it can't, the error
 * says what to change, and the host is as it was.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { HostError, HostErrorReason } from "../../src/hosts/HostError.ts"
import { type CleanRequest, type HostAccess, HostRuns, type RunRequest } from "../../src/hosts/HostRuns.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { SENTINEL, STATE_DIR } from "../../src/hosts/Protocol.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const hostRuns = LiveHostRuns.layer.pipe(Layer.provide(LiveSshClient.layer()))

const STEP_TIMEOUT_SECONDS = 120
const CLAIM = "claim-1"
const tenant = { claim: CLAIM, machine: "default/m1", cluster: "cluster-1", fence: 1 }

/** Steps that tell the witness of themselves, outside of the host, and as whom they run. */
const step = (name: string, script = ":") => ({ name, script: `witness matrix "${name} $(id -u)"\n${script}\n` })
const ending = step("end", `mkdir -p ${SENTINEL.slice(0, SENTINEL.lastIndexOf("/"))} && : >${SENTINEL}`)

const runOf = (...steps: RunRequest["steps"]): RunRequest => ({
  verb: "run",
  tenant,
  dataHash: "0".repeat(64),
  attempt: 1,
  workingDir: "/etc/k0smotron",
  files: [{ path: "/etc/matrix.conf", content: new TextEncoder().encode("secret"), mode: "0600", owner: "root:root" }],
  steps: [...steps, ending],
  sentinel: true,
  stepTimeoutSeconds: STEP_TIMEOUT_SECONDS
})

const cleaning: CleanRequest = {
  verb: "clean",
  tenant,
  attempt: 1,
  steps: [step("clean")],
  remove: ["/etc/matrix.conf", SENTINEL],
  verify: { k0s: true, paths: ["/etc/matrix.conf"] },
  stepTimeoutSeconds: STEP_TIMEOUT_SECONDS
}

const accessOf = (host: TestHosts.TestHost, user: TestHosts.TestUser, useSudo = user !== "root"): HostAccess => ({
  target: host.target(user),
  useSudo
})

const inspect = (access: HostAccess) => Effect.flatMap(HostRuns, (runs) => runs.inspect(access, tenant))
const run = (access: HostAccess, request: RunRequest) =>
  Effect.flatMap(HostRuns, (runs) => Stream.runDrain(runs.run(access, request)))
const clean = (access: HostAccess, request = cleaning) =>
  Effect.flatMap(HostRuns, (runs) => Stream.runDrain(runs.clean(access, request)))

/** What steps told the witness, in order. */
const witnessed = (host: TestHosts.TestHost) =>
  Effect.map(TestHosts.witness(host), (lines) =>
    lines.filter(({ what }) => what === "matrix").map(({ args }) => args.trim())
  )

/** The whole life of a host: looked at, bootstrapped, cleaned; each step once, as root. */
const works = Effect.fnUntraced(function* (
  host: TestHosts.TestHost,
  user: TestHosts.TestUser,
  request = runOf(step("one"), step("two"))
) {
  const access = accessOf(host, user)
  const report = yield* inspect(access)
  assert.strictEqual(report.hostname, host.name)
  assert.isUndefined(report.tenancy)
  yield* run(access, request)
  assert.strictEqual((yield* inspect(access)).tenancy?.state, "ready")
  assert.strictEqual(yield* TestHosts.execOk(host, "stat -c '%a %U' /etc/matrix.conf"), "600 root\n")
  yield* clean(access)
  assert.strictEqual((yield* inspect(access)).tenancy?.state, "free")
  const steps = [...request.steps, ...cleaning.steps].map(({ name }) => `${name} 0`)
  assert.deepStrictEqual(yield* witnessed(host), steps)
})

/** Nothing is begun, and the error says why and what to do. */
const refuses = Effect.fnUntraced(function* (
  host: TestHosts.TestHost,
  access: HostAccess,
  reason: HostErrorReason,
  says: ReadonlyArray<RegExp>
) {
  const refused = (error: HostError) => {
    assert.strictEqual(error.reason, reason, error.message)
    assert.include(error.message, `${access.target.user}@${host.address}:${host.port}`)
    for (const words of says) assert.match(error.message, words)
  }
  refused(yield* Effect.flip(run(access, runOf(step("never")))))
  assert.deepStrictEqual(yield* witnessed(host), [])
})

const hosts = (count: number) => TestHosts.light(count)
const oneHost = Effect.flatMap(hosts(1), ([host]) =>
  host === undefined ? Effect.die("no host") : Effect.succeed(host)
)

const setShell = (host: TestHosts.TestHost, user: TestHosts.TestUser, shell: string) =>
  TestHosts.execOk(
    host,
    `sed -i '/^${user}:/s|:[^:]*$|:${shell}|' /etc/passwd && grep -q '^${user}:.*:${shell}$' /etc/passwd`
  )

const sshdConfig = (host: TestHosts.TestHost, lines: string) =>
  TestHosts.execOk(host, "cat >>/etc/ssh/machinist_sshd_config", `${lines}\n`)

const test = (name: string, body: Effect.Effect<void, unknown, HostRuns | import("effect/Scope").Scope>) =>
  it.live(name, () => Effect.provide(body, hostRuns))

describe.skipIf(TestHosts.unavailable !== undefined)("users and sudo", () => {
  test(
    "root; a user with password-less sudo",
    Effect.gen(function* () {
      const [one, two] = yield* hosts(2)
      assert(one !== undefined && two !== undefined)
      yield* Effect.all([works(one, "root"), works(two, "machinist")], { concurrency: 2 })
    })
  )

  test(
    "whoever can't become root is told what sudo said, and what would change it",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* refuses(host, accessOf(host, "nosudo"), "SudoRefused", [/password is required/, /NOPASSWD/])
      yield* refuses(host, accessOf(host, "ttysudo"), "SudoRefused", [/tty|terminal/, /without a tty/])
      yield* refuses(host, accessOf(host, "machinist", false), "Unsupported", [/uid 2001/, /useSudo: true/])
      yield* TestHosts.execOk(
        host,
        "printf '%s\\n' 'machinist ALL=(nosudo) NOPASSWD: ALL' >/etc/sudoers.d/machinist-test"
      )
      yield* refuses(host, accessOf(host, "machinist"), "SudoRefused", [/password is required|not allowed/])
      yield* TestHosts.execOk(
        host,
        "printf '%s\\n' 'machinist ALL=(root) NOPASSWD: /usr/bin/id' >/etc/sudoers.d/machinist-test"
      )
      yield* refuses(host, accessOf(host, "machinist"), "SudoRefused", [/password is required|not allowed/])
      yield* TestHosts.execOk(host, "echo 'broken line' >/etc/sudoers.d/machinist-test")
      yield* refuses(host, accessOf(host, "machinist"), "SudoRefused", [/sudoers/])
      yield* TestHosts.execOk(host, "rm /usr/bin/sudo")
      yield* refuses(host, accessOf(host, "machinist"), "SudoRefused", [/not found/, /sudo is installed/])
    })
  )
})

describe.skipIf(TestHosts.unavailable !== undefined)("login shells", () => {
  for (const shell of ["/bin/bash", "/bin/ash"])
    test(
      `${shell}, for root and through sudo`,
      Effect.gen(function* () {
        const all = yield* hosts(2)
        yield* Effect.forEach(all, (host) =>
          TestHosts.execOk(host, "[ -e /bin/ash ] || ln -s /usr/bin/busybox /bin/ash")
        )
        const [one, two] = all
        assert(one !== undefined && two !== undefined)
        yield* setShell(one, "root", shell)
        yield* setShell(two, "machinist", shell)
        yield* Effect.all([works(one, "root"), works(two, "machinist")], { concurrency: 2 })
      })
    )

  test(
    "a host whose every tool is BusyBox's, as on Alpine: sh and all that driver and steps call; for root and through sudo",
    Effect.gen(function* () {
      const all = yield* hosts(2)
      const [one, two] = all
      assert(one !== undefined && two !== undefined)
      // The witness keeps a clock of its own: BusyBox has no nanoseconds.
      const busybox = `for applet in $(busybox --list); do
  case $applet in busybox | date) continue ;; esac
  for directory in /usr/bin /usr/sbin; do
    [ ! -e $directory/$applet ] || ln -sf /usr/bin/busybox $directory/$applet
  done
done
sed -i 's:date +%s%N:/usr/bin/date +%s%N:' /usr/local/bin/witness`
      for (const host of all) {
        yield* TestHosts.execOk(host, busybox)
        assert.match(yield* TestHosts.execOk(host, "readlink -f /bin/sh /usr/bin/sed; sed --help 2>&1"), /BusyBox/)
        // No other shell either.
        yield* TestHosts.execOk(host, "rm -f /bin/bash /bin/dash")
      }
      const fails = step("fails", "echo no mirror answers >&2; false")
      const failed = yield* Effect.flip(run(accessOf(two, "machinist"), runOf(step("one"), fails)))
      assert.deepStrictEqual(
        [failed.reason, failed.stepName, failed.stderr],
        ["StepFailed", "fails", "no mirror answers"]
      )
      yield* clean(accessOf(two, "machinist"))
      yield* works(one, "root")
    })
  )

  test(
    "a banner, and profiles that talk on both outputs, also without a last newline",
    Effect.gen(function* () {
      const host = yield* oneHost
      const noise = "echo Welcome; echo machinist of the day; echo noise >&2; printf 'no newline'"
      yield* setShell(host, "machinist", "/bin/bash")
      // bash reads .bashrc for commands over SSH; the others only where something makes it a login shell.
      for (const file of [".bashrc", ".profile", ".bash_profile"])
        yield* TestHosts.writeFile(host, `/home/machinist/${file}`, `${noise}\n`)
      yield* TestHosts.writeFile(host, "/etc/profile.d/noise.sh", `${noise}\n`)
      yield* TestHosts.writeFile(host, "/etc/banner", "Authorized use only.\nmachinist RunSucceeded\n")
      yield* sshdConfig(host, "Banner /etc/banner\nPrintMotd yes\nPrintLastLog yes")
      yield* TestHosts.reboot(host)
      yield* works(host, "machinist")
    })
  )

  test(
    "an account whose shell lets nobody in, or runs no commands, is told so in that shell's words",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* setShell(host, "machinist", "/no/such/shell")
      const error = yield* Effect.flip(run(accessOf(host, "machinist"), runOf()))
      assert.strictEqual(error.reason, "AuthenticationFailed", error.message)

      // sshd reads the account at each login: a connection that is kept has the shell of before.
      const told = (user: TestHosts.TestUser, says: ReadonlyArray<RegExp>) =>
        refuses(host, accessOf(host, user), "ShellRefused", [...says, /real shell.*\/bin\/sh/]).pipe(
          Effect.provide(Layer.fresh(hostRuns))
        )
      const unavailable = [/exit 1/, /This account is currently not available/]
      for (const user of ["machinist", "root"] as const) {
        yield* setShell(host, user, "/usr/sbin/nologin")
        yield* told(user, unavailable)
      }
      yield* TestHosts.writeFile(host, "/usr/local/bin/closed", "#!/bin/sh\necho Ask the desk. >&2\n", "0755")
      for (const [shell, ...says] of [
        ["/usr/local/bin/closed", /exit 0/, /Ask the desk\./],
        ["/bin/false", /exit 1 and said nothing/],
        ["/bin/true", /exit 0 and said nothing/]
      ] as const) {
        yield* setShell(host, "machinist", shell)
        yield* told("machinist", says)
      }
      // The look at a host, which comes first, says the same.
      const looked = yield* Effect.flip(inspect(accessOf(host, "machinist"))).pipe(
        Effect.provide(Layer.fresh(hostRuns))
      )
      assert.deepStrictEqual([looked.reason, looked.retry], ["ShellRefused", "waitForChange"])

      yield* setShell(host, "machinist", "/bin/sh")
      yield* sshdConfig(host, "Match User machinist\n  ForceCommand echo Backups only.")
      yield* TestHosts.reboot(host)
      yield* told("machinist", [/Backups only\./, /ForceCommand/])
    })
  )

  test(
    "while /etc/nologin is there a user is let in by nobody, in its words; and goes on when it is gone",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* TestHosts.writeFile(host, "/etc/nologin", "Down for maintenance until noon.\n")
      const refused = yield* Effect.flip(inspect(accessOf(host, "machinist")))
      assert.deepStrictEqual([refused.reason, refused.retry], ["SessionRefused", "backoff"])
      assert.match(refused.message, /Down for maintenance until noon\./)
      yield* TestHosts.execOk(host, "rm /etc/nologin")
      yield* works(host, "machinist")
    })
  )
})

describe.skipIf(TestHosts.unavailable !== undefined)("file systems", () => {
  test(
    "noexec everywhere that is written to",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* TestHosts.execOk(host, "mount -o remount,noexec /tmp && mount -o remount,noexec /run")
      for (const path of [STATE_DIR, "/var/tmp", "/home", "/etc/k0smotron"])
        yield* TestHosts.execOk(
          host,
          `mkdir -p ${path} && mount --bind ${path} ${path} && mount -o remount,bind,noexec ${path}`
        )
      yield* works(host, "machinist")
    })
  )

  test(
    "a read-only root says so, and works once it is writable",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* TestHosts.execOk(host, "mount -o remount,ro /")
      yield* refuses(host, accessOf(host, "root"), "DriverFailed", [/read-only/])
      yield* TestHosts.execOk(host, "mount -o remount,rw /")
      yield* works(host, "root")
    })
  )

  test(
    "a state disk that is full in the middle: no step is lost, none runs twice",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* TestHosts.execOk(host, `mkdir -p ${STATE_DIR} && mount -t tmpfs -o size=1m,mode=700 tmpfs ${STATE_DIR}`)
      const fill = step("fill", `dd if=/dev/zero of=${STATE_DIR}/fill bs=64k 2>/dev/null; [ -s ${STATE_DIR}/fill ]`)
      const request = runOf(step("one"), fill, step("two"))
      const access = accessOf(host, "root")
      yield* Effect.ignore(run(access, request))
      yield* TestHosts.execOk(host, `rm -f ${STATE_DIR}/fill`)
      yield* run(access, request)
      yield* clean(access)
      assert.deepStrictEqual(yield* witnessed(host), ["one 0", "fill 0", "two 0", "end 0", "clean 0"])
    })
  )

  test(
    "a disk that is full for a step fails that step in its own words, and the next try goes on there",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* TestHosts.execOk(host, "mkdir /data && mount -t tmpfs -o size=64k tmpfs /data")
      const big = step("big", "head -c 1000000 /dev/zero >/data/big")
      const request = runOf(step("one"), big)
      const access = accessOf(host, "root")
      const error = yield* Effect.flip(run(access, request))
      assert.deepStrictEqual([error.reason, error.stepName], ["StepFailed", "big"])
      assert.match(error.stderr ?? "", /No space left on device/)
      yield* TestHosts.execOk(host, "mount -o remount,size=8m /data")
      yield* run(access, { ...request, attempt: 2 })
      assert.deepStrictEqual(yield* witnessed(host), ["one 0", "big 0", "big 0", "end 0"])
    })
  )
})

describe.skipIf(TestHosts.unavailable !== undefined)("odd hosts", () => {
  test(
    "a clock that jumps years ahead and back while steps run",
    Effect.gen(function* () {
      const host = yield* oneHost
      const library = (yield* TestHosts.execOk(host, "ls /usr/lib/*/faketime/libfaketime.so.1")).trim()
      // The clock as every process of driver and steps sees it: sshd itself can't do with another library in its sandbox.
      const faked = (program: string) =>
        `#!/bin/sh\nFAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 LD_PRELOAD=${library} exec ${program} "$@"\n`
      yield* TestHosts.writeFile(host, "/etc/faketimerc", "+0\n")
      yield* TestHosts.writeFile(host, "/usr/local/sbin/setsid", faked("/usr/bin/setsid"), "0755")
      yield* TestHosts.writeFile(host, "/usr/local/bin/jumping-sh", faked("/bin/sh"), "0755")
      yield* setShell(host, "root", "/usr/local/bin/jumping-sh")
      const year = "case $(date +%Y) in"
      const jump = (offset: string, then: string) =>
        step(`jump${offset}`, `echo '${offset}' >/etc/faketimerc; sleep 1; ${year} ${then}) ;; *) date; exit 9 ;; esac`)
      const now = new Date().getUTCFullYear()
      yield* works(
        host,
        "root",
        runOf(
          jump("+11y", `${now + 11}|${now + 10}`),
          jump("-22y", `${now - 21}|${now - 22}|${now - 23}`),
          jump("+0", `${now}`)
        )
      )
    })
  )

  test(
    "PAM limits that leave room do no harm; those that leave none are told",
    Effect.gen(function* () {
      const host = yield* oneHost
      yield* TestHosts.writeFile(
        host,
        "/etc/pam.d/sshd",
        "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_limits.so\n"
      )
      const limits = (text: string) => TestHosts.writeFile(host, "/etc/security/limits.d/matrix.conf", text)
      yield* limits("* - nofile 64\n* - nproc 64\n* - fsize 8192\nroot - nofile 64\nroot - fsize 8192\n")
      yield* TestHosts.execOk(host, "sed -i 's/^UsePAM no/UsePAM yes/' /etc/ssh/machinist_sshd_config")
      yield* TestHosts.reboot(host)
      const shown = step("limits", "[ $(ulimit -n) = 64 ]")
      yield* works(host, "machinist", runOf(shown))
      const told = Effect.fnUntraced(function* (text: string) {
        yield* limits(text)
        // A login of its own, not the connection that is kept.
        return yield* Effect.flip(inspect(accessOf(host, "machinist"))).pipe(Effect.provide(Layer.fresh(hostRuns)))
      })
      const refused = yield* told("machinist - maxlogins 0\n")
      assert.deepStrictEqual([refused.reason, refused.retry], ["SessionRefused", "backoff"])
      assert.match(refused.message, /maxlogins/)
      // sshd itself can't go on then: there is nobody left to say why.
      for (const starved of ["machinist - nproc 1\n", "machinist - nofile 3\n"]) {
        const lost = yield* told(starved)
        assert.deepStrictEqual([lost.reason, lost.retry], ["ConnectFailed", "backoff"])
        assert.match(lost.message, /sshd/)
      }
    })
  )
})
