/**
 * Holds the test hosts themselves to their README: what is apart is apart, teardown leaves nothing, and the stand-ins do
 * and refuse what k0s, its installer and curl do.
 */
import { execFileSync, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs"
import { createServer } from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { cgroupRoot } from "./internal/Pool.ts"
import * as TestHosts from "./TestHosts.ts"

const skip = TestHosts.unavailable !== undefined
const kinds: ReadonlyArray<TestHosts.HostKind> = [
  "light",
  ...(TestHosts.openrcUnavailable === undefined ? (["openrc"] as const) : []),
  ...(TestHosts.systemdUnavailable === undefined ? (["systemd"] as const) : [])
]

const MAKE = { light: TestHosts.light, openrc: TestHosts.openrc, systemd: TestHosts.systemd }
const one = (kind: TestHosts.HostKind, options?: TestHosts.TestHostOptions) =>
  Effect.flatMap(MAKE[kind](1, options), ([host]) =>
    host === undefined ? Effect.die("no host") : Effect.succeed(host)
  )

const mounts = (): ReadonlyArray<string> => readFileSync("/proc/self/mounts", "utf8").split("\n")

/** Processes of this machine whose root is `directory`/root, or that mention it. */
const processesOf = (directory: string): ReadonlyArray<string> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const mentions = readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(directory)
        return mentions || readlinkSync(`/proc/${pid}/root`).startsWith(directory)
      } catch {
        return false
      }
    })

const traces = (host: TestHosts.TestHost) => ({
  processes: processesOf(host.machine.directory).length,
  directory: existsSync(host.machine.pool.directory),
  base: existsSync(host.machine.pool.base),
  cgroup: host.machine.pool.cgroup !== undefined && existsSync(host.machine.pool.cgroup)
})

const selfSigned = (): { readonly key: string; readonly cert: string } => {
  const directory = mkdtempSync(join(tmpdir(), "machinist-cert-"))
  const [key, cert] = [join(directory, "key"), join(directory, "cert")]
  const subject = ["-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1"]
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      key,
      "-out",
      cert,
      ...subject
    ],
    { stdio: "ignore" }
  )
  const pair = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") }
  rmSync(directory, { recursive: true })
  return pair
}

/** A shell loop on the host, bounded. */
const until = (condition: string): string =>
  `i=0; until ${condition}; do i=$((i+1)); [ $i -lt 400 ] || { echo 'never: ${condition.replaceAll("'", "")}' >&2; exit 99; }; sleep 0.05; done`

const whats = (host: TestHosts.TestHost) =>
  Effect.map(TestHosts.witness(host), (lines) => lines.map(({ what }) => what))

describe.skipIf(skip)("hosts", () => {
  for (const kind of kinds) {
    it.live(`${kind}: teardown leaves no process, mount, file or cgroup`, () =>
      Effect.gen(function* () {
        const before = mounts()
        const host = yield* Effect.scoped(
          Effect.gen(function* () {
            const inside = yield* one(kind)
            yield* TestHosts.execOk(inside, "setsid sh -c 'while :; do sleep 1; done' >/dev/null 2>&1 </dev/null &")
            yield* TestHosts.freeze(inside)
            assert.isAbove(traces(inside).processes, 0)
            assert.isTrue(traces(inside).directory)
            assert.deepStrictEqual(mounts(), before)
            return inside
          })
        )
        assert.deepStrictEqual(traces(host), { processes: 0, directory: false, base: false, cgroup: false })
        assert.deepStrictEqual(mounts(), before)
      })
    )
  }

  it.live("hosts die with the process that made them, and the next pool removes what it left", () =>
    Effect.gen(function* () {
      const child = spawn(process.execPath, [join(import.meta.dirname, "ownHosts.ts")], {
        stdio: ["ignore", "pipe", "inherit"]
      })
      const said = yield* Effect.callback<string>((resume) => {
        let output = ""
        child.stdout.on("data", (chunk: Buffer) => {
          output += chunk.toString()
          if (output.includes("up\n")) resume(Effect.succeed(output))
        })
        child.on("exit", () => resume(Effect.die(`ownHosts.ts ended: ${output}`)))
      })
      const directories = said.split("\n").filter((line) => line.startsWith("/"))
      assert.isAbove(directories.length, 0)
      for (const directory of directories) assert.isAbove(processesOf(directory).length, 0)
      child.kill("SIGKILL")
      yield* Effect.sync(() => directories.flatMap(processesOf).length).pipe(
        Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (count) => count === 0 }),
        Effect.timeout("20 seconds")
      )
      for (const directory of directories) assert.isTrue(existsSync(directory))
      yield* Effect.scoped(TestHosts.light(0))
      for (const directory of directories) assert.isFalse(existsSync(directory))
      const root = cgroupRoot()
      if (root !== undefined) {
        const left = readdirSync(root).filter((name) => name.startsWith("machinist-hosts-"))
        const alive = readdirSync("/var/tmp/machinist-hosts").map((net) => `machinist-hosts-${net}`)
        assert.isTrue(left.every((name) => alive.includes(name)))
      }
    })
  )

  it.live("two hosts share neither files, processes, names nor boot ids, and this machine sees none of them", () =>
    Effect.gen(function* () {
      const [first, second] = yield* TestHosts.light(2)
      assert(first !== undefined && second !== undefined)
      yield* TestHosts.writeFile(first, "/etc/only-here", "x", "0600")
      yield* TestHosts.execOk(first, "setsid sleep 4242 >/dev/null 2>&1 </dev/null &")
      assert.strictEqual(yield* TestHosts.readFile(first, "/etc/only-here"), "x")
      assert.isUndefined(yield* TestHosts.readFile(second, "/etc/only-here"))
      assert.isFalse(existsSync("/etc/only-here"))
      assert.strictEqual(yield* TestHosts.kill(second, "sleep 4242"), 0)
      assert.strictEqual(yield* TestHosts.kill(first, "sleep 4242"), 1)
      assert.notStrictEqual(yield* TestHosts.bootId(first), yield* TestHosts.bootId(second))
      assert.notStrictEqual(first.hostKey, second.hostKey)
      assert.strictEqual(yield* TestHosts.execOk(second, "hostname"), `${second.name}\n`)
    })
  )

  it.live("pools that live side by side have networks of their own", () =>
    Effect.gen(function* () {
      const [first] = yield* TestHosts.light(1)
      const [second] = yield* TestHosts.light(1)
      assert(first !== undefined && second !== undefined)
      assert.notStrictEqual(first.address, second.address)
      assert.notStrictEqual(first.privateKey, second.privateKey)
    })
  )

  it.live.skipIf(TestHosts.openrcUnavailable !== undefined)(
    "a host with OpenRC has it as PID 1, and sshd as a service",
    () =>
      Effect.gen(function* () {
        const host = yield* one("openrc")
        assert.strictEqual(yield* TestHosts.execOk(host, "cat /proc/1/comm"), "openrc-init\n")
        assert.strictEqual((yield* TestHosts.exec(host, "command -v systemctl; ls -d /run/systemd")).stdout, "")
        assert.strictEqual(yield* TestHosts.execOk(host, "rc-status --runlevel"), "default\n")
        assert.match(yield* TestHosts.execOk(host, "rc-service machinist-sshd status"), /started/)
        assert.strictEqual((yield* TestHosts.exec(host, "rc-status --crashed")).stdout, "")
      })
  )

  it.live("a light host has no sign of systemd; a host with systemd says it is running", () =>
    Effect.gen(function* () {
      const light = yield* one("light")
      const signs =
        "command -v systemctl systemd-run journalctl; ls -d /run/systemd /var/lib/machinist /usr/local/bin/k0s"
      assert.strictEqual((yield* TestHosts.exec(light, signs)).stdout, "")
      assert.strictEqual(yield* TestHosts.execOk(light, "command -v service"), "/usr/sbin/service\n")
      if (TestHosts.systemdUnavailable !== undefined) return
      const systemd = yield* one("systemd")
      assert.strictEqual(yield* TestHosts.execOk(systemd, "systemctl is-system-running"), "running\n")
      assert.strictEqual((yield* TestHosts.exec(systemd, "systemctl --failed --plain --no-legend")).stdout, "")
    })
  )

  it.live("a reboot: new boot id, empty /run and /tmp, the same disk, and the witness goes on", () =>
    Effect.gen(function* () {
      const host = yield* one("light")
      const bootId = yield* TestHosts.bootId(host)
      yield* TestHosts.execOk(host, "touch /run/x /tmp/x /etc/x; witness before 'a\tb'")
      yield* TestHosts.reboot(host)
      assert.notStrictEqual(yield* TestHosts.bootId(host), bootId)
      assert.strictEqual((yield* TestHosts.exec(host, "ls /run/x /tmp/x /etc/x")).stdout, "/etc/x\n")
      yield* TestHosts.execOk(host, "witness after")
      const lines = yield* TestHosts.witness(host)
      assert.deepStrictEqual(
        lines.map(({ args, host: name, what }) => ({ args, name, what })),
        [
          { args: "a\tb", name: host.name, what: "before" },
          { args: "", name: host.name, what: "after" }
        ]
      )
      assert.isTrue(lines.every(({ at }) => at > 1_700_000_000_000_000_000n))
    })
  )
})

describe.skipIf(skip)("stand-ins", () => {
  for (const kind of kinds) {
    it.live(
      `${kind}: k0s is downloaded, installed, started, registers its node, is stopped, reset, and comes again`,
      () =>
        Effect.gen(function* () {
          const host = yield* one(kind)
          yield* TestHosts.writeFile(host, "/etc/k0s.token", TestHosts.joinToken(), "0600")
          const install =
            "k0s install worker --token-file /etc/k0s.token --labels=a=b --kubelet-root-dir=/srv/kubelet " +
            `--kubelet-extra-args="--hostname-override=node-1 --v=2"`
          const join = [
            "set -e",
            "curl -sSfL --retry 5 https://get.k0s.sh | K0S_INSTALL_PATH=/usr/local/bin K0S_VERSION=v1.33.1+k0s.1 sh",
            "[ $(k0s version) = v1.33.1+k0s.1 ]",
            install,
            "k0s start",
            until("k0s status --out json 2>/dev/null | grep -q '\"Success\": true'"),
            '[ "$(stat -c %a /var/lib/k0s/kubelet.conf)" = 600 ]',
            "export KUBECONFIG=/var/lib/k0s/kubelet.conf",
            "k0s kubectl get node node-1 -o name",
            until(
              '[ "$(k0s kubectl get node node-1 -o \'jsonpath={.status.conditions[?(@.type=="Ready")].status}\')" = True ]'
            )
          ].join("\n")
          yield* TestHosts.execOk(host, join)
          assert.include(
            (yield* TestHosts.exec(host, "k0s kubectl --kubeconfig /var/lib/k0s/kubelet.conf get node x")).stderr,
            "NotFound"
          )
          assert.strictEqual(yield* TestHosts.execOk(host, "cat /proc/$(cat /run/k0s/pid)/comm"), "k0s\n")
          const again = yield* TestHosts.exec(host, install)
          assert.strictEqual(again.code, 1)
          assert.include(again.stderr, "Init already exists")
          assert.include((yield* TestHosts.exec(host, "k0s start")).stderr, "already running")
          assert.include((yield* TestHosts.exec(host, "k0s reset")).stderr, "please stop k0s before reset")
          const busy = yield* TestHosts.exec(host, "curl -sSfL https://get.k0s.sh | sh")
          assert.include(busy.stderr, "Text file busy")
          assert.strictEqual(busy.code, 2)

          // It comes back by itself after a power cut, without its token.
          yield* TestHosts.execOk(host, "rm /etc/k0s.token; sync")
          yield* TestHosts.reboot(host)
          yield* TestHosts.execOk(host, until("k0s status --out json 2>/dev/null | grep -q '\"Success\": true'"))

          yield* TestHosts.execOk(host, "k0s stop")
          assert.include((yield* TestHosts.exec(host, "k0s stop")).stderr, "already stopped")
          assert.strictEqual((yield* TestHosts.exec(host, "k0s status")).code, 1)
          yield* TestHosts.execOk(host, "k0s reset")
          const left =
            "ls -d /var/lib/k0s /run/k0s /etc/init.d/k0sworker /etc/systemd/system/k0sworker.service " +
            "/etc/systemd/system/multi-user.target.wants/k0sworker.service /etc/rc2.d/*k0s* /etc/runlevels/*/k0s* " +
            "/etc/cni/net.d/* " +
            "/srv/kubelet /usr/local/bin/k0s"
          assert.strictEqual((yield* TestHosts.exec(host, left)).stdout, "/srv/kubelet\n/usr/local/bin/k0s\n")
          assert.deepStrictEqual(
            (yield* whats(host)).filter((what) => what !== "curl"),
            [
              ...["get-k0s", "k0s-install-worker", "k0s-start", "k0s-worker", "k0s-registered"],
              ...["k0s-install-worker", "k0s-start", "k0s-reset", "get-k0s"],
              ...["k0s-worker", "k0s-registered", "k0s-stop", "k0s-worker-end", "k0s-stop", "k0s-reset"]
            ]
          )
        })
    )
  }

  it.live("a worker without a usable token does not join", () =>
    Effect.gen(function* () {
      const host = yield* one("light", { k0s: true })
      const without = yield* TestHosts.exec(host, "k0s worker")
      assert.include(without.stderr, "no join-token given")
      const missing = yield* TestHosts.exec(host, "k0s worker --token-file /etc/none")
      assert.include(missing.stderr, "no such file")
      yield* TestHosts.writeFile(host, "/etc/bad", "not a token")
      const bad = yield* TestHosts.exec(host, "k0s worker --token-file=/etc/bad")
      assert.include(bad.stderr, "failed to decode token")
      assert.deepStrictEqual([without.code, missing.code, bad.code], [1, 1, 1])
      assert.notInclude(yield* whats(host), "k0s-registered")
    })
  )

  it.live("with join, the Node is made at the server of the token, as its user, again until it is let in", () =>
    Effect.gen(function* () {
      const certificate = selfSigned()
      const seen: Array<string> = []
      let refusals = 1
      const server = createServer({ key: certificate.key, cert: certificate.cert }, (request, response) => {
        let body = ""
        request.on("data", (chunk: Buffer) => {
          body += chunk.toString()
        })
        request.on("end", () => {
          seen.push(`${request.method} ${request.url} ${request.headers.authorization}`)
          const labels = request.method === "POST" ? JSON.parse(body).metadata.labels : undefined
          if (labels !== undefined) seen.push(JSON.stringify(labels))
          response.statusCode = refusals-- > 0 ? 403 : 200
          response.end('{"status":{"conditions":[{"type":"Ready","status":"True"}]}}')
        })
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => server.close())
      )
      const address = server.address()
      assert(typeof address === "object" && address !== null)
      const host = yield* one("light", { k0s: true, join: true })
      const token = TestHosts.joinToken(
        `https://127.0.0.1:${address.port}`,
        "abcdef.0123456789abcdef",
        certificate.cert
      )
      yield* TestHosts.writeFile(host, "/etc/k0s.token", token)
      yield* TestHosts.execOk(
        host,
        [
          "set -e",
          "k0s install worker --token-file /etc/k0s.token --labels=a=b,c=d",
          "k0s start",
          until("[ -e /run/k0s/ready ]"),
          `KUBECONFIG=/var/lib/k0s/kubelet.conf k0s kubectl get node ${host.name} -o name`
        ].join("\n")
      )
      const bearer = "Bearer abcdef.0123456789abcdef"
      assert.deepStrictEqual(seen, [
        ...[`POST /api/v1/nodes ${bearer}`, '{"a":"b","c":"d"}', `POST /api/v1/nodes ${bearer}`, '{"a":"b","c":"d"}'],
        `PATCH /api/v1/nodes/${host.name}/status ${bearer}`,
        `GET /api/v1/nodes/${host.name} ${bearer}`
      ])
      assert.include(yield* whats(host), "k0s-join-refused")
    })
  )

  it.live("a controller has its admin.conf and etcd member; only with --enable-worker it has a node", () =>
    Effect.gen(function* () {
      const host = yield* one("light", { k0s: true })
      const start = (flags: string) =>
        TestHosts.execOk(
          host,
          [
            "set -e",
            `echo 'kind: ClusterConfig' >/etc/k0s.yaml; k0s install controller --force --enable-dynamic-config --env AUTOPILOT_HOSTNAME=n -c /etc/k0s.yaml ${flags}`,
            "k0s start",
            until("k0s kubeconfig admin >/dev/null 2>&1")
          ].join("\n")
        )
      yield* start("")
      assert.include(yield* TestHosts.execOk(host, "k0s status --out json"), '"Workloads": false')
      assert.include(yield* TestHosts.execOk(host, "cat /etc/init.d/k0scontroller"), "export AUTOPILOT_HOSTNAME='n'")
      yield* TestHosts.execOk(host, "k0s etcd leave && [ ! -e /var/lib/k0s/etcd/member ] && k0s stop && k0s reset")
      assert.strictEqual((yield* TestHosts.exec(host, "k0s etcd leave")).code, 1)
      assert.notInclude(yield* whats(host), "k0s-registered")
      yield* start("--enable-worker")
      yield* TestHosts.execOk(host, until(`k0s kubectl get node ${host.name}`))
    })
  )

  it.live("unknown commands, flags and users are refused", () =>
    Effect.gen(function* () {
      const host = yield* one("light", { k0s: true })
      const refused = [
        "k0s frobnicate",
        "k0s install worker --no-such-flag=1",
        "k0s install gardener",
        "k0s start",
        "k0s stop",
        "su machinist -c 'k0s install worker --token-file=/etc/k0s.token'"
      ]
      for (const command of refused) assert.strictEqual((yield* TestHosts.exec(host, command)).code, 1, command)
      const noDirectory = "curl -sSfL https://get.k0s.sh | K0S_INSTALL_PATH=/opt/none sh"
      assert.notStrictEqual((yield* TestHosts.exec(host, noDirectory)).code, 0)
    })
  )

  it.live("curl and oras serve k0s, and nothing else", () =>
    Effect.gen(function* () {
      const host = yield* one("light")
      yield* TestHosts.execOk(
        host,
        [
          "set -e",
          "curl -sSfL --retry 5 -o /tmp/a https://downloads.machinist.test/k0s-v1",
          `printf 'url = "https://downloads.machinist.test/k0s?token=x"\\n' | curl -sSfL --retry 5 -o /tmp/b -K -`,
          "HOME=/root oras blob fetch --output /tmp/c registry.machinist.test/k0s@sha256:00",
          "cmp /tmp/a /tmp/b && cmp /tmp/a /tmp/c && sh /tmp/a version"
        ].join("\n")
      )
      const missing = yield* TestHosts.exec(host, "curl -sSfL https://example.com/k0s")
      assert.deepStrictEqual([missing.code, missing.stdout], [22, ""])
      assert.strictEqual(yield* TestHosts.execOk(host, "curl -sSL https://example.com/k0s"), "404: Not Found\n")
      assert.strictEqual((yield* TestHosts.exec(host, "oras blob fetch --output /tmp/d example.com/k0s:1")).code, 1)
      assert.strictEqual(
        (yield* TestHosts.exec(host, "env -u HOME oras blob fetch --output /tmp/d registry.machinist.test/k0s:1")).code,
        1
      )
    })
  )

  it.live("a stand-in fails as often as it is told to, and hangs until it is killed", () =>
    Effect.gen(function* () {
      const host = yield* one("light", { k0s: true })
      yield* TestHosts.fail(host, "curl", 2)
      const codes: Array<number> = []
      for (let i = 0; i < 3; i++) codes.push((yield* TestHosts.exec(host, "curl -sSfL https://get.k0s.sh")).code)
      assert.deepStrictEqual(codes, [22, 22, 0])
      yield* TestHosts.fail(host, "reset", "always")
      assert.strictEqual((yield* TestHosts.exec(host, "k0s reset; k0s reset")).code, 1)
      yield* TestHosts.fail(host, "reset", 0)
      yield* TestHosts.execOk(host, "k0s reset")
      yield* TestHosts.hang(host, "install")
      yield* TestHosts.execOk(
        host,
        `setsid k0s install worker --token-file=/x </dev/null >/dev/null 2>&1 & ${until("grep -q install-hangs /witness/*.log")}`
      )
      assert.strictEqual(yield* TestHosts.kill(host, "k0s install"), 1)
      yield* TestHosts.hang(host, "install", false)
      yield* TestHosts.execOk(host, "k0s install worker --token-file=/x")
      assert.deepStrictEqual(yield* whats(host), [
        ...["curl", "curl-failed", "curl", "curl-failed", "curl"],
        ...["k0s-reset", "reset-failed", "k0s-reset", "reset-failed", "k0s-reset"],
        ...["k0s-install-worker", "install-hangs", "k0s-install-worker"]
      ])
    })
  )
})
