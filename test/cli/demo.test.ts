/**
 * `machinist demo` as a person or a script has it: its last line, its exit code, its refusals, what it leaves, and that it
 * goes on after SIGKILL with what it was told to keep.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type Ended, run } from "../support/CommandLine.ts"

const directory = mkdtempSync(join(tmpdir(), "machinist-test-"))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const machinist = (
  args: ReadonlyArray<string>,
  meanwhile: (line: string, signal: (name: NodeJS.Signals) => void) => void = () => undefined
): Promise<Ended> => Effect.runPromise(run(args, { meanwhile }))

const report = (ended: Ended) => JSON.parse(ended.lines.at(-1) ?? "{}")

describe("machinist demo", () => {
  it("--once --json --delete ends with the report, and 0 when all is as it should be", async () => {
    const ended = await machinist(["demo", "--once", "--json", "--delete", "--hosts", "memory", "--machines", "2"])
    assert.strictEqual(ended.code, 0, ended.errors)
    const { seconds, ...counts } = report(ended)
    assert.isNumber(seconds)
    assert.deepStrictEqual(Object.keys(report(ended)), [
      "machines",
      "ready",
      "running",
      "seconds",
      "doubleClaims",
      "stepsRunTwice",
      "deleted",
      "dirtyHosts"
    ])
    assert.isAbove(counts.machines, 10)
    assert.deepStrictEqual(counts, {
      ...counts,
      ready: counts.machines,
      running: counts.machines,
      doubleClaims: 0,
      stepsRunTwice: 0,
      dirtyHosts: 0
    })
    assert.isAtLeast(counts.deleted, counts.machines)
    for (const line of ended.lines) assert.doesNotThrow(() => JSON.parse(line), line)
  })

  it("takes a user's YAML, at the addresses it has", async () => {
    const file = join(directory, "mine.yaml")
    writeFileSync(
      file,
      `apiVersion: cluster.x-k8s.io/v1beta1
kind: Cluster
metadata: {name: mine, namespace: team}
spec:
  controlPlaneRef: {apiVersion: controlplane.cluster.x-k8s.io/v1beta1, kind: K0smotronControlPlane, name: mine}
  infrastructureRef: {apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteCluster, name: mine}
---
{apiVersion: controlplane.cluster.x-k8s.io/v1beta1, kind: K0smotronControlPlane, metadata: {name: mine, namespace: team}, spec: {version: v1.27.2-k0s.0}}
---
{apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteCluster, metadata: {name: mine, namespace: team}, spec: {}}
---
apiVersion: cluster.x-k8s.io/v1beta1
kind: Machine
metadata: {name: mine-0, namespace: team}
spec:
  clusterName: mine
  bootstrap: {configRef: {apiVersion: bootstrap.cluster.x-k8s.io/v1beta1, kind: K0sWorkerConfig, name: mine-0}}
  infrastructureRef: {apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachine, name: mine-0}
---
{apiVersion: bootstrap.cluster.x-k8s.io/v1beta1, kind: K0sWorkerConfig, metadata: {name: mine-0, namespace: team}, spec: {version: v1.27.2+k0s.0}}
---
{apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachine, metadata: {name: mine-0, namespace: team}, spec: {address: 192.0.2.7, user: admin, useSudo: true, sshKeyRef: {name: k}}}
`
    )
    const ended = await machinist(["demo", "-f", file, "--once", "--json", "--delete", "--hosts", "memory"])
    assert.strictEqual(ended.code, 0, ended.errors)
    assert.strictEqual(report(ended).machines, 1)
    assert.include(ended.lines.join("\n"), '"host":"192.0.2.7:22"')
  })

  it("that can't end well ends with the report all the same, and not with 0", async () => {
    const file = join(directory, "waits.yaml")
    const name = "waits"
    writeFileSync(
      file,
      `apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
kind: RemoteMachine
metadata: {name: ${name}}
spec: {address: 192.0.2.7, sshKeyRef: {name: k}}
---
apiVersion: cluster.x-k8s.io/v1beta1
kind: Machine
metadata: {name: ${name}}
spec:
  clusterName: ${name}
  bootstrap: {dataSecretName: nobody-makes-it}
  infrastructureRef: {apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachine, name: ${name}}
`
    )
    const ended = await machinist(["demo", "-f", file, "--once", "--json", "--hosts", "memory", "--timeout", "2s"])
    assert.strictEqual(ended.code, 1)
    assert.match(ended.errors, /machines are not ready/)
    const { machines, ready, running } = report(ended)
    assert.deepStrictEqual({ machines, ready, running }, { machines: 1, ready: 0, running: 0 })
  })

  for (const [how, name] of [
    ["Ctrl-C", "SIGINT"],
    ["its terminal is closed", "SIGHUP"]
  ] as const)
    it(`serves kubectl until ${how}, says what to try, and leaves nothing behind`, async () => {
      let kubeconfig = ""
      let mode = 0
      const ended = await machinist(["demo", "--hosts", "memory", "--machines", "1"], (line, signal) => {
        const [, path] = /export KUBECONFIG=(\S+)/.exec(line) ?? []
        if (path !== undefined) {
          kubeconfig = path
          mode = statSync(path).mode & 0o777
        }
        if (line.startsWith("Ctrl-C")) signal(name)
      })
      assert.strictEqual(ended.code, 0, ended.errors)
      assert.strictEqual(mode, 0o600)
      assert.isAtLeast(ended.lines.filter((line) => line.startsWith("  kubectl ")).length, 3)
      assert.isFalse(existsSync(kubeconfig))
    })

  it("refuses what can't be, and says what to do", async () => {
    const refusals: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: RegExp]> = [
      [["--delete"], /--once/],
      [["--once", "--machines", "-1"], /--machines takes a number/],
      [["--once", "--timeout", "soon"], /--timeout takes a duration/],
      [["--once", "--hosts", "moon"], /sh, memory or a file/],
      [["--once", "--hosts", "memory", "--state", join(directory, "none")], /--state needs --hosts sh/],
      [["--once", "-f", join(directory, "missing.yaml")], /missing\.yaml: there is no such file/],
      [["--once", "--state", "/dev/null"], /--state \/dev\/null: it is a file, not a directory; give another --state/],
      [["--once", "--state", "/proc/none/of/it"], /--state \/proc\/none.*give another --state/]
    ]
    for (const [args, says] of refusals) {
      const ended = await machinist(["demo", ...args])
      assert.notStrictEqual(ended.code, 0, args.join(" "))
      assert.match(ended.errors + ended.lines.join("\n"), says)
    }
  })

  it("with --state goes on after SIGKILL: same machines, nothing done twice", async (context) => {
    const state = join(directory, "state")
    const args = ["demo", "--once", "--json", "--state", state, "--machines", "2"]
    const first = await machinist(args, (line, signal) => {
      if (line.includes('"state":"Provisioning"')) signal("SIGKILL")
    })
    if (/can't be had here/.test(first.errors)) return context.skip("no namespaces")
    assert.isNull(first.code, first.errors)
    const seen = new Set(first.lines.flatMap((line) => JSON.parse(line).machine ?? []))
    assert.isAbove(readdirSync(join(state, "hosts")).length, 10)
    const second = await machinist([...args, "--delete"])
    assert.strictEqual(second.code, 0, second.errors)
    assert.strictEqual(report(second).stepsRunTwice, 0)
    const again = new Set(second.lines.flatMap((line) => JSON.parse(line).machine ?? []))
    for (const machine of seen) assert.isTrue(again.has(machine), machine)
    assert.deepStrictEqual(readdirSync(join(state, "workloads")), [], "deleted clusters are kept")
    // Deleted whole, it begins anew: no namespace still on its way out, no Node of a machine of then.
    const anew = await machinist(args)
    assert.strictEqual(anew.code, 0, anew.errors)
    assert.strictEqual(report(anew).running, report(anew).machines)
    // Three whole demos on hosts with a real shell, beside suites that do the same: two dozen seconds alone.
  }, 240_000)
})
