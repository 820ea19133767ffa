/**
 * `machinist up` on real sshd hosts: a laptop's management cluster that is killed at every stage and goes on from there,
 * workers that join its stand-in control plane over HTTPS with their token file, each step once by the hosts' own witness,
 * and hosts that are clean again after `--delete`.
 */
import { execFileSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as CommandLine from "../support/CommandLine.ts"
import { disksOf } from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const YAML = (named: TestHosts.TestHost) => `
apiVersion: cluster.x-k8s.io/v1beta1
kind: Cluster
metadata: {name: lab, namespace: lab}
spec:
  controlPlaneRef: {apiVersion: controlplane.cluster.x-k8s.io/v1beta1, kind: K0smotronControlPlane, name: lab}
  infrastructureRef: {apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteCluster, name: lab}
---
{apiVersion: controlplane.cluster.x-k8s.io/v1beta1, kind: K0smotronControlPlane, metadata: {name: lab, namespace: lab}, spec: {version: v1.34.2-k0s.0}}
---
{apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteCluster, metadata: {name: lab, namespace: lab}, spec: {}}
---
apiVersion: cluster.x-k8s.io/v1beta1
kind: Machine
metadata: {name: named, namespace: lab}
spec:
  clusterName: lab
  bootstrap: {configRef: {apiVersion: bootstrap.cluster.x-k8s.io/v1beta1, kind: K0sWorkerConfig, name: named}}
  infrastructureRef: {apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachine, name: named}
---
apiVersion: bootstrap.cluster.x-k8s.io/v1beta1
kind: K0sWorkerConfig
metadata: {name: named, namespace: lab}
spec: {version: v1.34.2+k0s.0, preStartCommands: [witness pre], postStartCommands: [witness post]}
---
{apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachine, metadata: {name: named, namespace: lab}, spec: {address: ${named.address}}}
---
apiVersion: cluster.x-k8s.io/v1beta1
kind: MachineDeployment
metadata: {name: workers, namespace: lab}
spec:
  clusterName: lab
  replicas: 2
  selector: {matchLabels: {pool: workers}}
  template:
    metadata: {labels: {pool: workers, cluster.x-k8s.io/cluster-name: lab}}
    spec:
      clusterName: lab
      bootstrap: {configRef: {apiVersion: bootstrap.cluster.x-k8s.io/v1beta1, kind: K0sWorkerConfigTemplate, name: workers}}
      infrastructureRef: {apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachineTemplate, name: workers}
---
apiVersion: bootstrap.cluster.x-k8s.io/v1beta1
kind: K0sWorkerConfigTemplate
metadata: {name: workers, namespace: lab}
spec: {template: {spec: {version: v1.34.2+k0s.0, preStartCommands: [witness pre], postStartCommands: [witness post]}}}
---
{apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachineTemplate, metadata: {name: workers, namespace: lab}, spec: {template: {spec: {pool: lab}}}}
`

/** The account that needs sudo, and two of root's. */
const hostsFile = ([named, ...pool]: ReadonlyArray<TestHosts.TestHost>, key: string) =>
  [
    `- {address: ${named?.address}, user: machinist, useSudo: true, identityFile: ${key}}`,
    ...pool.map(({ address, port }) => `- {address: ${address}, port: ${port}, identityFile: ${key}}`)
  ].join("\n")

const PASSPHRASE = "open sesame, said the list"
/** A name that only the jump host knows: whoever gets there went through it. */
const BEHIND = "behind.internal"
const PASSPHRASE_VARIABLE = "MACHINIST_TEST_PASSPHRASE"

/** The same with keys that are encrypted, and the last host behind the first one, by another account's key. */
const hostsBehind = ([named, middle]: ReadonlyArray<TestHosts.TestHost>) => `
- {address: ${named?.address}, user: machinist, useSudo: true, identityFile: locked, passphraseFile: passphrase}
- {address: ${middle?.address}, identityFile: locked, passphraseEnv: ${PASSPHRASE_VARIABLE}}
- address: ${BEHIND}
  identityFile: key
  jumpHosts:
  - {address: ${named?.address}, user: nosudo, identityFile: locked, passphraseFile: passphrase, hostKey: "${named?.hostKey}"}
`

/** `kill`: SIGKILL at the first line that it says yes to. */
const up = (args: ReadonlyArray<string>, kill: (line: string) => boolean = () => false) =>
  CommandLine.run(["up", ...args], {
    boundToRunner: true,
    environment: { [PASSPHRASE_VARIABLE]: PASSPHRASE },
    meanwhile: (line, signal) => {
      if (kill(line)) signal("SIGKILL")
    }
  })

const count = (lines: ReadonlyArray<TestHosts.WitnessLine>, what: string): number =>
  lines.filter((line) => line.what === what).length

describe.skipIf(TestHosts.unavailable !== undefined)("machinist up", () => {
  it.live("goes on after SIGKILL at every stage, does each step once, and --delete leaves hosts clean", () =>
    Effect.gen(function* () {
      const directory = yield* CommandLine.directory
      const hosts = yield* TestHosts.light(3, { join: true })
      const [named] = hosts
      assert.isDefined(named)
      const disks = disksOf(hosts)
      const file = (name: string, text: string) => {
        writeFileSync(join(directory, name), text, { mode: 0o600 })
        return join(directory, name)
      }
      yield* TestHosts.execOk(named, `echo '${hosts[2]?.address} ${BEHIND}' >>/etc/hosts`)
      file("key", named.privateKey)
      file("passphrase", `${PASSPHRASE}\n`)
      execFileSync("ssh-keygen", ["-q", "-p", "-N", PASSPHRASE, "-f", file("locked", named.privateKey)])
      const args = [
        ...["-f", file("lab.yaml", YAML(named)), "--hosts", file("hosts.yaml", hostsBehind(hosts))],
        ...["--state", join(directory, "state"), "--json"]
      ]
      // The first host that is told of may be pending, claimed or half provisioned, and goes on by itself while nobody is there.
      for (const moment of ['"state":"Pending"', '"host":', '"state":"Provisioning"', '"host":']) {
        const ended = yield* up([...args, "--once"], (line) => line.includes(moment))
        assert.isNull(ended.code, `${moment}: ${ended.errors} ${ended.lines.join("\n")}`)
      }
      // Whoever is first to run, the others are not far: it may have come to its own end.
      yield* up([...args, "--once"], (line) => line.includes('"state":"Running"'))
      const ran = yield* up([...args, "--once"])
      assert.strictEqual(ran.code, 0, `${ran.errors}\n${ran.lines.join("\n")}`)
      const report = JSON.parse(ran.lines.at(-1) ?? "{}")
      assert.deepInclude(report, { machines: 3, ready: 3, running: 3, doubleClaims: null, stepsRunTwice: null })
      for (const host of hosts) {
        const seen = yield* TestHosts.witness(host)
        const told = seen.map(({ args: said, what }) => `${what} ${said}`).join("\n")
        for (const what of ["pre", "get-k0s", "k0s-install-worker", "k0s-worker", "k0s-registered", "post"])
          assert.strictEqual(count(seen, what), 1, `${host.name} ${what}\n${told}`)
      }
      // And once more: nothing is left to do.
      const before = yield* Effect.forEach(hosts, TestHosts.witness)
      const again = yield* up([...args, "--once"])
      assert.strictEqual(again.code, 0, again.errors)
      assert.deepStrictEqual(yield* Effect.forEach(hosts, TestHosts.witness), before)

      const half = yield* up([...args, "--delete"], (line) => line.includes('"state":"Cleaning"'))
      assert.isNull(half.code, half.lines.join("\n"))
      const gone = yield* up([...args, "--delete"])
      assert.strictEqual(gone.code, 0, `${gone.errors}\n${gone.lines.join("\n")}`)
      assert.deepInclude(JSON.parse(gone.lines.at(-1) ?? "{}"), { dirtyHosts: 0 })
      for (const { errors, lines } of [ran, again, gone]) assert.notInclude(errors + lines.join("\n"), PASSPHRASE)
      assert.deepStrictEqual(yield* disks.residue, [])
    }).pipe(Effect.scoped)
  )

  it.live("says what is wrong with the list, the YAML, or a host that still has something", () =>
    Effect.gen(function* () {
      const directory = yield* CommandLine.directory
      const hosts = yield* TestHosts.light(1)
      const [host] = hosts
      assert.isDefined(host)
      const file = (name: string, text: string) => {
        writeFileSync(join(directory, name), text, { mode: 0o600 })
        return join(directory, name)
      }
      file("key", host.privateKey)
      execFileSync("ssh-keygen", ["-q", "-p", "-N", PASSPHRASE, "-f", file("locked", host.privateKey)])
      file("wrong", "guessed")
      let lists = 0
      const keyed = (more: string) =>
        file(`keyed-${lists++}.yaml`, `- {address: ${host.address}, identityFile: locked${more}}`)
      const yaml = file("lab.yaml", YAML(host))
      const list = file("hosts.yaml", hostsFile(hosts, "key"))
      const state = ["--state", join(directory, "state")]
      const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: RegExp]> = [
        [["-f", yaml, "--hosts", file("none.yaml", "[]")], /no list of hosts/],
        [["-f", yaml, "--hosts", file("lost.yaml", "- {address: a, identityFile: lost}")], /key of a can't be read/],
        [["-f", yaml, "--hosts", keyed("")], /it is encrypted and no passphrase was given.*passphraseFile or/],
        [
          ["-f", yaml, "--hosts", keyed(", passphraseFile: wrong")],
          /passphrase does not decrypt it.*passphraseFile or/
        ],
        [["-f", yaml, "--hosts", keyed(", passphraseFile: lost")], /passphrase of .* can't be read/],
        [["-f", yaml, "--hosts", keyed(", passphraseEnv: NOT_SET_HERE")], /the environment has no NOT_SET_HERE/],
        [
          ["-f", yaml, "--hosts", file("other.yaml", "- {address: 192.0.2.9, identityFile: key}"), "--once"],
          new RegExp(`names ${host.address}:22, which .* does not list`)
        ]
      ]
      for (const [args, says] of cases) {
        const ended = yield* up([...args, ...state])
        assert.notStrictEqual(ended.code, 0)
        assert.match(ended.errors + ended.lines.join("\n"), says)
      }
      // Somebody else's k0s: nothing of ours is there to delete, and the host is not called clean.
      yield* TestHosts.writeFile(host, "/var/lib/k0s/kubelet.conf", "not ours\n")
      const dirty = yield* up(["-f", yaml, "--hosts", list, ...state, "--delete"])
      assert.notStrictEqual(dirty.code, 0)
      assert.match(dirty.errors + dirty.lines.join("\n"), /it has \/var\/lib\/k0s/)
    }).pipe(Effect.scoped)
  )
})
