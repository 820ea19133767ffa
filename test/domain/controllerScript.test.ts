/**
 * Holds: which files and steps a K0sControllerConfig becomes (CONTRACT section 3), as golden texts and run for real with
 * stand-ins; and which controller starts the cluster, by a table.
 */
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { parse } from "yaml"
import type { Machine } from "../../src/api/ClusterApi.ts"
import { installFacts } from "../../src/domain/Cleaning.ts"
import { type Payload, parseCloudConfig, renderCloudConfig } from "../../src/domain/CloudConfig.ts"
import { type ControllerRole, controllerRole } from "../../src/domain/ControllerRole.ts"
import { type ControllerBootstrapInput, controllerBootstrap } from "../../src/domain/ControllerScript.ts"
import { assertGolden } from "./golden.ts"
import { boot, ScriptHost } from "./ScriptHost.ts"

const pair = (name: string) => ({ cert: `${name} certificate\n`, key: `${name} key\n` })
const first: ControllerBootstrapInput["join"] = {
  as: "first",
  certificates: { ca: pair("ca"), sa: pair("sa"), proxy: pair("proxy"), etcd: pair("etcd") }
}
const base: ControllerBootstrapInput = { machineName: "remote-test-0", version: "v1.27.1+k0s.0", join: first }
const joining: Partial<ControllerBootstrapInput> = { join: { as: "joining", joinToken: "H4sIJOINTOKEN" } }
const render = (input: Partial<ControllerBootstrapInput> = {}): Payload =>
  Result.getOrThrow(controllerBootstrap({ ...base, ...input }))
const text = (payload: Payload): string => Buffer.from(renderCloudConfig(payload)).toString("utf8")
const scriptOf = (payload: Payload, name: string): string =>
  payload.steps.find((step) => step.name === name)?.script ?? assert.fail(`no step ${name}`)
const installed = (input: Partial<ControllerBootstrapInput>): string =>
  scriptOf(render(input), "install k0s").split("\n").at(-2) ?? ""

/** The remote machine page's K0sControlPlane. */
const K0S_CONFIG = {
  apiVersion: "k0s.k0sproject.io/v1beta1",
  kind: "ClusterConfig",
  metadata: { name: "k0s" },
  spec: { api: { extraArgs: { "anonymous-auth": "true" } } }
}

const CASES: Record<string, Partial<ControllerBootstrapInput>> = {
  "controller-first": { k0sConfig: K0S_CONFIG },
  "controller-joining": { ...joining, k0sConfig: K0S_CONFIG },
  "controller-worker": {
    ...joining,
    args: ["--enable-worker", "--data-dir=/data/k0s", "--kubelet-extra-args=--v=4"],
    postStartCommands: ["kubectl get nodes --kubeconfig=/var/lib/k0s/pki/admin.conf"]
  }
}

describe("a K0sControllerConfig's files and steps", () => {
  for (const [name, input] of Object.entries(CASES)) {
    it(`${name}, and a host reads back what was meant`, () => {
      const payload = render(input)
      assertGolden(`${name}.yaml`, text(payload))
      assert.deepStrictEqual(parseCloudConfig(renderCloudConfig(payload)), Result.succeed(payload))
      for (const step of payload.steps) {
        const checked = spawnSync("dash", ["-n"], { input: step.script, encoding: "utf8" })
        if (checked.error === undefined) assert.strictEqual(checked.stderr, "", step.name)
      }
    })
  }
  it("the command line is k0smotron's; arguments of the user stand before what must not be overridden", () => {
    const line =
      "/usr/local/bin/k0s install controller --force --enable-dynamic-config --env AUTOPILOT_HOSTNAME=remote-test-0"
    assert.strictEqual(installed({}), line)
    assert.strictEqual(
      installed({ ...joining, k0sConfig: K0S_CONFIG, args: ["--debug"], workingDir: "/opt/k0s" }),
      `${line} --debug --config /etc/k0s.yaml --token-file /opt/k0s/k0s.token`
    )
    assert.strictEqual(
      installed({ args: ["--enable-worker"] }),
      `${line} --labels=k0smotron.io/machine-name=remote-test-0 --enable-worker --kubelet-extra-args="--hostname-override=remote-test-0"`
    )
  })
  it("the certificates are where k0s looks for them, keys for root alone; a joining one has none", () => {
    const modes = (payload: Payload) => Object.fromEntries(payload.files.map(({ path, mode }) => [path, mode]))
    const pki = (dir: string) => ({
      [`${dir}/ca.crt`]: "0644",
      [`${dir}/ca.key`]: "0600",
      [`${dir}/etcd/ca.crt`]: "0644",
      [`${dir}/etcd/ca.key`]: "0600",
      [`${dir}/front-proxy-ca.crt`]: "0644",
      [`${dir}/front-proxy-ca.key`]: "0600",
      [`${dir}/sa.pub`]: "0644",
      [`${dir}/sa.key`]: "0600"
    })
    assert.deepStrictEqual(modes(render()), pki("/var/lib/k0s/pki"))
    assert.deepStrictEqual(modes(render({ args: ["--data-dir", "/data/k0s"] })), pki("/data/k0s/pki"))
    assert.deepStrictEqual(modes(render(joining)), { "/etc/k0s.token": "0600" })
    const key = render().files.find(({ path }) => path.endsWith("etcd/ca.key"))
    assert.strictEqual(Buffer.from(key?.content ?? []).toString(), "etcd key\n")
  })
  it("the k0s configuration arrives as it was", () => {
    const file = render({ k0sConfig: K0S_CONFIG }).files.find(({ path }) => path === "/etc/k0s.yaml")
    assert.deepStrictEqual(parse(Buffer.from(file?.content ?? []).toString()), K0S_CONFIG)
    assert.strictEqual(file?.mode, "0600")
  })
  it("a field that can't be is named", () => {
    const why = (input: Partial<ControllerBootstrapInput>) =>
      Result.match(controllerBootstrap({ ...base, ...input }), { onSuccess: () => "", onFailure: ({ field }) => field })
    assert.strictEqual(why({ k0sConfig: "text" }), "spec.k0s")
    assert.strictEqual(why({ k0sConfig: [] }), "spec.k0s")
    assert.strictEqual(why({ k0sConfig: {}, files: [{ path: "/etc/k0s.yaml", content: "" }] }), "spec.files[0].path")
    assert.strictEqual(why({ files: [{ path: "/var/lib/k0s/pki/ca.key", content: "" }] }), "spec.files[0].path")
    assert.strictEqual(why({ machineName: "No Label" }), "metadata.name of the Machine")
  })
  it("cleaning reads off it that a controller was installed, and where", () => {
    const facts = installFacts(
      render({ ...CASES["controller-worker"], workingDir: "/opt/w", k0sInstallDir: "/opt/bin" })
    )
    assert.deepInclude(facts, {
      role: "controller",
      dataDir: "/data/k0s",
      workingDir: "/opt/w",
      k0sInstallDir: "/opt/bin"
    })
  })
})

describe("run for real", () => {
  /** Serves when it was started with all that it needs. */
  const k0sStub = `
case "$1 $2" in
  "install controller") mkdir -p /etc/systemd/system; echo "$*" >/etc/systemd/system/k0scontroller.service ;;
  "kubectl get") case "$*" in *jsonpath*) printf True ;; *readyz) [ -e /etc/ready ] ;; esac ;;
esac`
  const ready = (): ScriptHost => {
    const host = new ScriptHost()
    host.stub("k0s", k0sStub, "/usr/local/bin/k0s")
    host.stub(
      "systemctl",
      `case "$1" in start) mkdir -p /var/lib/k0s/pki; echo admin >/var/lib/k0s/pki/admin.conf; : >/etc/ready ;; esac`
    )
    return host
  }
  const SENTINEL = "/run/cluster-api/bootstrap-success.complete"

  it("a controller that is a node: in order, and postStart has the administrator's kubeconfig", () => {
    using host = ready()
    const command = "cat /var/lib/k0s/pki/admin.conf >>/etc/trace"
    const payload = render({ preInstalledK0s: true, args: ["--enable-worker"], postStartCommands: [command] })
    assert.strictEqual(boot(host, payload).code, 0)
    assert.strictEqual(host.read("/etc/trace"), "admin\n")
    assert.isTrue(host.exists(SENTINEL))
    assert.deepStrictEqual(
      host.log().map((line) => line.split(" ").slice(0, 4).join(" ")),
      [
        "k0s install controller --force",
        "systemctl start k0scontroller",
        "systemctl is-active --quiet k0scontroller",
        "k0s kubectl version --client",
        "k0s kubectl get --raw",
        "k0s kubectl get node",
        "k0s kubectl version --client",
        "k0s kubectl get node"
      ]
    )
  })
  it("one that is none asks for no node", () => {
    using host = ready()
    assert.strictEqual(boot(host, render({ preInstalledK0s: true, postStartCommands: ["true"] })).code, 0)
    assert.isFalse(host.log().some((line) => line.includes("get node")))
  })
  it("an API server that never gets ready fails within the bound, leaves no sentinel, and says why", () => {
    using host = ready()
    host.stub("systemctl", "mkdir -p /var/lib/k0s/pki; echo admin >/var/lib/k0s/pki/admin.conf")
    const payload = render({ preInstalledK0s: true, waits: { k0sSeconds: 0, nodeReadySeconds: 0 } })
    assert.notStrictEqual(boot(host, payload).code, 0)
    assert.isFalse(host.exists(SENTINEL))
    const again = host.run(scriptOf(payload, "wait for k0s"))
    assert.include(again.stderr, "k0s did not start serving within 0 seconds")
    assert.include(again.stderr, "the API server of this host is not ready")
  })
})

describe("which controller starts the cluster", () => {
  interface Some {
    readonly created?: number
    readonly deleting?: boolean
    readonly addresses?: ReadonlyArray<{ readonly type: string; readonly address: string }>
    readonly running?: boolean
    readonly version?: string
  }
  const machine = (
    name: string,
    { addresses, created = 1, deleting, running, version = "v1" }: Some = {}
  ): Machine => ({
    metadata: {
      name,
      namespace: "n",
      creationTimestamp: `2026-01-01T00:00:0${created}Z`,
      ...(deleting === true ? { deletionTimestamp: "2026-01-02T00:00:00Z" } : {})
    },
    spec: { version },
    status: {
      addresses: addresses ?? [{ type: "ExternalIP", address: `ip-${name}` }],
      initialization: { infrastructureProvisioned: running === true }
    }
  })
  const first: ControllerRole = { as: "first" }
  const via = (address: string): ControllerRole => ({ as: "joining", address })
  const waits = (name: string): ControllerRole => ({ as: "waiting", machine: name })
  const cases: ReadonlyArray<readonly [string, Machine, ReadonlyArray<Machine>, ControllerRole]> = [
    ["the only one", machine("a"), [], first],
    ["the oldest", machine("b"), [machine("a", { created: 2 })], first],
    ["of one second, the first by name", machine("a"), [machine("b")], first],
    ["another is older", machine("b", { created: 2 }), [machine("a")], waits("a")],
    ["the older one runs", machine("b", { created: 2 }), [machine("a", { running: true })], via("ip-a")],
    [
      "the older one runs, but nobody knows where",
      machine("b", { created: 2 }),
      [machine("a", { running: true, addresses: [] })],
      waits("a")
    ],
    [
      "the older one is being deleted",
      machine("b", { created: 2 }),
      [machine("a", { running: true, deleting: true })],
      first
    ],
    ["the oldest, when a younger one runs", machine("a"), [machine("b", { created: 2, running: true })], via("ip-b")],
    [
      "of those that run, the oldest",
      machine("d", { created: 4 }),
      [machine("c", { created: 3, running: true }), machine("b", { created: 2, running: true }), machine("a")],
      via("ip-b")
    ],
    [
      "in a rollout, one that stays",
      machine("d", { created: 4, version: "v2" }),
      [machine("a", { running: true }), machine("c", { created: 3, running: true, version: "v2" })],
      via("ip-c")
    ]
  ]
  for (const [what, own, others, expected] of cases) {
    it(what, () => {
      assert.deepStrictEqual(controllerRole(own, [...others, own]), expected)
      assert.deepStrictEqual(controllerRole(own, [own, ...others.toReversed()]), expected)
    })
  }
  it("of its addresses, the one that others reach best", () => {
    const of = (...types: ReadonlyArray<readonly [string, string]>) =>
      controllerRole(machine("b", { created: 2 }), [
        machine("a", { running: true, addresses: types.map(([type, address]) => ({ type, address })) })
      ])
    assert.deepStrictEqual(of(["InternalIP", "10.0.0.1"], ["ExternalIP", "1.2.3.4"]), via("1.2.3.4"))
    assert.deepStrictEqual(of(["InternalIP", "fd00::1"], ["InternalIP", "10.0.0.1"]), via("10.0.0.1"))
    assert.deepStrictEqual(of(["Hostname", "h"], ["InternalIP", "fd00::1"]), via("fd00::1"))
    assert.deepStrictEqual(of(["Hostname", "h"], ["InternalDNS", "i"], ["ExternalDNS", "e"]), via("e"))
    assert.deepStrictEqual(of(["Hostname", "h"]), via("h"))
    assert.deepStrictEqual(of(["ExternalIP", ""]), waits("a"))
  })
})
