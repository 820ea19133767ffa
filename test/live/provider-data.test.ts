/**
 * Holds, on a host with a real systemd and a real sshd: an Ignition config does over SSH what it says (files,
 * directories, links, drop-ins, units that are the bootstrap), through a reboot in the middle of its unit, and cleaning
 * takes all of it away again; the small modules of a cloud-config do what they say.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { parseBootstrapData } from "../../src/domain/bootstrap/ReadBootstrap.ts"
import { HostRuns, type HostRunsShape } from "../../src/hosts/HostRuns.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { SENTINEL } from "../../src/hosts/Protocol.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import { assertWell, cleanOf, eventually, outcome, persistently, runOf } from "../conformance/hosts/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const runsOverSsh = Effect.map(
  Layer.build(LiveHostRuns.layer.pipe(Layer.provide(LiveSshClient.layer()))),
  (built): HostRunsShape => Context.get(built, HostRuns)
)

const request = (data: string) => {
  const { files, steps } = Result.getOrThrow(parseBootstrapData(Buffer.from(data), undefined))
  return runOf(steps, { files })
}

const oneHost = Effect.flatMap(TestHosts.systemd(1), ([host]) =>
  host === undefined ? Effect.die("no host") : Effect.succeed(host)
)

const told = (host: TestHosts.TestHost, what: string): number =>
  Effect.runSync(TestHosts.witness(host)).filter((line) => line.what === what).length

/** Milliseconds: a boot or two, on a busy machine. */
const TIMEOUT = 180_000

const UNIT = `[Unit]
Description=what kubeadm's provider makes
[Service]
Type=oneshot
ExecStart=/opt/own/bin/bootstrap
[Install]
WantedBy=multi-user.target
`

const ignition = JSON.stringify({
  ignition: { version: "3.4.0" },
  storage: {
    directories: [{ path: "/opt/own/data", mode: 0o750, user: { name: "machinist" } }],
    files: [
      {
        path: "/opt/own/bin/bootstrap",
        mode: 0o755,
        contents: {
          source: `data:;base64,${Buffer.from(`#!/bin/sh\nset -e\n/usr/local/bin/witness bootstraps\nuntil [ -e /srv/go ]; do sleep 0.1; done\n/usr/local/bin/witness "$GREETING"\nmkdir -p /run/cluster-api\necho success >${SENTINEL}\n`).toString("base64")}`
        }
      }
    ],
    links: [{ path: "/opt/own/current", target: "bin" }]
  },
  systemd: {
    units: [
      {
        name: "own-bootstrap.service",
        enabled: true,
        contents: UNIT,
        dropins: [{ name: "10-env.conf", contents: "[Service]\nEnvironment=GREETING=greeted\n" }]
      },
      {
        name: "own-agent.service",
        enabled: true,
        contents: "[Service]\nExecStart=/bin/sleep 100000\n[Install]\nWantedBy=multi-user.target\n"
      }
    ]
  }
})

describe.skipIf(TestHosts.systemdUnavailable !== undefined)("bootstrap data of others on a systemd host", () => {
  it.live(
    "Ignition: through a reboot in the middle of its unit, then cleaned to nothing",
    () =>
      Effect.gen(function* () {
        const host = yield* oneHost
        const runs = yield* runsOverSsh
        const access = { target: host.target(), useSudo: false }
        const before = yield* TestHosts.execOk(host, "ls -R /opt /etc/systemd/system")
        const first = yield* Effect.forkChild(outcome(runs.run(access, request(ignition))))
        yield* eventually(
          "the unit runs",
          Effect.sync(() => told(host, "bootstraps") === 1)
        )
        // Booting is over when the unit is: it belongs to what a boot starts.
        const reboot = yield* Effect.forkChild(TestHosts.reboot(host))
        yield* eventually(
          "the unit runs once more",
          Effect.sync(() => told(host, "bootstraps") === 2)
        )
        const again = yield* Effect.forkChild(persistently(outcome(runs.run(access, request(ignition)))))
        yield* TestHosts.writeFile(host, "/srv/go", "")
        yield* Fiber.join(reboot)
        yield* Fiber.join(first)
        assertWell(yield* Fiber.join(again))
        assert.strictEqual(told(host, "greeted"), 1)
        assert.strictEqual(
          yield* TestHosts.execOk(
            host,
            "stat -c '%A %U' /opt/own/data; readlink /opt/own/current; systemctl is-active own-agent; systemctl is-enabled own-bootstrap"
          ),
          "drwxr-x--- machinist\nbin\nactive\nenabled\n"
        )

        assertWell(yield* persistently(outcome(runs.clean(access, cleanOf([])))))
        assert.strictEqual((yield* TestHosts.exec(host, "systemctl is-active own-agent")).stdout, "inactive\n")
        assert.notInclude((yield* TestHosts.exec(host, "cat /proc/[0-9]*/cmdline")).stdout, "100000")
        assert.strictEqual(yield* TestHosts.execOk(host, "ls -R /opt /etc/systemd/system"), before)
      }).pipe(Effect.scoped),
    TIMEOUT
  )

  it.live(
    "a unit that fails is the step's failure, with the unit's last words; cleaning follows a hung one at once",
    () =>
      Effect.gen(function* () {
        const host = yield* oneHost
        const runs = yield* runsOverSsh
        const access = { target: host.target(), useSudo: false }
        const broken = ignition.replace("/opt/own/bin/bootstrap\\n", "/bin/sh -c 'echo the last words; exit 3'\\n")
        const failed = yield* persistently(outcome(runs.run(access, request(broken))))
        assert.strictEqual(failed.error?.reason, "StepFailed")
        assert.strictEqual(failed.error?.stepName, "start own-bootstrap.service")
        assert.include(failed.error?.stderr ?? "", "the last words")
        assertWell(yield* persistently(outcome(runs.clean(access, cleanOf([])))))

        const hung = yield* Effect.forkChild(
          outcome(runs.run(access, { ...request(ignition), tenant: { ...runOf([]).tenant, fence: 2 } }))
        )
        yield* eventually(
          "the unit runs",
          Effect.sync(() => told(host, "bootstraps") === 1)
        )
        assertWell(
          yield* persistently(outcome(runs.clean(access, cleanOf([], { tenant: { ...runOf([]).tenant, fence: 3 } }))))
        )
        yield* Fiber.join(hung)
        assert.notInclude((yield* TestHosts.exec(host, "cat /proc/[0-9]*/cmdline")).stdout, "/opt/own/bin/bootstrap")
        assert.isUndefined(yield* TestHosts.readFile(host, "/etc/systemd/system/own-bootstrap.service"))
      }).pipe(Effect.scoped),
    TIMEOUT
  )

  it.live(
    "cloud-config: host name, time zone, a clock that nothing keeps, a script part",
    () =>
      Effect.gen(function* () {
        const host = yield* oneHost
        const runs = yield* runsOverSsh
        const access = { target: host.target("machinist"), useSudo: true }
        const done = `mkdir -p /run/cluster-api && echo success >${SENTINEL}`
        const config = `#cloud-config\nfqdn: node-7.example.org\ntimezone: Europe/Berlin\nruncmd: ["${done}"]\n`
        assertWell(yield* persistently(outcome(runs.run(access, request(config)))))
        assert.strictEqual(
          yield* TestHosts.execOk(host, "hostname; cat /etc/hostname; date -d @0 +%Z"),
          "node-7\nnode-7\nCET\n"
        )
        yield* persistently(outcome(runs.clean(access, cleanOf([]))))
        const next = { ...runOf([]).tenant, fence: 2 }
        const clock = `#cloud-config\nntp: {servers: [192.0.2.1]}\nruncmd: ["${done}"]\n`
        const ended = yield* persistently(outcome(runs.run(access, { ...request(clock), tenant: next })))
        const keeper = yield* TestHosts.exec(
          host,
          'command -v chronyd || [ "$(systemctl is-enabled systemd-timesyncd)" = enabled ]'
        )
        if (keeper.code === 0) assertWell(ended)
        else assert.include(ended.error?.stderr ?? "", "neither chrony nor systemd-timesyncd")
        assert.include(
          (yield* TestHosts.readFile(host, "/etc/systemd/timesyncd.conf.d/machinist.conf")) ?? "",
          "192.0.2.1"
        )
        assertWell(yield* persistently(outcome(runs.clean(access, cleanOf([], { tenant: { ...next, fence: 3 } })))))
        assert.isUndefined(yield* TestHosts.readFile(host, "/etc/systemd/timesyncd.conf.d/machinist.conf"))
      }).pipe(Effect.scoped),
    TIMEOUT
  )
})
