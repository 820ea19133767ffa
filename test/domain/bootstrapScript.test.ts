/**
 * Holds: which files and steps a K0sWorkerConfig becomes (CONTRACT section 3), refusals that name the field, and the
 * page's examples as golden texts. That they work when run is bootstrapRun.test.ts.
 */
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { type WorkerBootstrapInput, workerBootstrap } from "../../src/domain/BootstrapScript.ts"
import { type Payload, parseCloudConfig, renderCloudConfig } from "../../src/domain/CloudConfig.ts"
import { assertGolden } from "./golden.ts"

const base: WorkerBootstrapInput = {
  machineName: "machine-test-0",
  version: "v1.27.2+k0s.0",
  joinToken: "H4sIJOINTOKEN"
}
const render = (input: Partial<WorkerBootstrapInput> = {}): Payload =>
  Result.getOrThrow(workerBootstrap({ ...base, ...input }))
const text = (payload: Payload): string => Buffer.from(renderCloudConfig(payload)).toString("utf8")

/** The bootstrap page's examples, by its headings. */
const EXAMPLES: Record<string, Partial<WorkerBootstrapInput>> = {
  minimal: {},
  "pre-start": {
    preStartCommands: [
      "apt-get update && apt-get install -y curl jq",
      "mkdir -p /etc/k0s/monitoring",
      "echo 'export MONITORING_ENABLED=true' >> /etc/environment"
    ]
  },
  "post-start": {
    postStartCommands: [
      "systemctl enable monitoring-agent",
      "systemctl start monitoring-agent",
      "kubectl get nodes --kubeconfig=/var/lib/k0s/pki/admin.conf"
    ]
  },
  "monitoring-agents": {
    preStartCommands: ["curl -fsSL https://get.docker.com | sh", "systemctl enable docker", "systemctl start docker"],
    postStartCommands: [
      "docker run -d --name node-exporter -p 9100:9100 prom/node-exporter",
      "echo 'Node exporter started on port 9100'"
    ]
  },
  "custom-cleanup-script": {
    version: "v1.32.2+k0s.0",
    files: [
      {
        path: "/custom-cleanup-script.sh",
        content: '#!/bin/bash\necho "Running custom cleanup script"\n# Add your custom cleanup logic here\n',
        permissions: "0755"
      }
    ]
  },
  ingress: {
    ingress: {
      apiHost: "api.example.org",
      konnectivityHost: "konnectivity.example.org",
      port: 443,
      caCert: "CA\n",
      serverCert: "CERT\n",
      serverKey: "KEY\n"
    }
  }
}

describe("the page's examples", () => {
  for (const [name, input] of Object.entries(EXAMPLES)) {
    it(name, () => {
      const payload = render(input)
      assertGolden(`${name}.yaml`, text(payload))
      assert.deepStrictEqual(parseCloudConfig(renderCloudConfig(payload)), Result.succeed(payload))
    })
  }
  it("every script is a script for dash", () => {
    const variants: ReadonlyArray<Partial<WorkerBootstrapInput>> = [
      ...Object.values(EXAMPLES),
      { downloadURL: "https://u:p@h/k0s?x='1'", k0sInstallDir: "/opt/k 0's", postStartCommands: ["true"] },
      { downloadURL: "oci://r.example/k0s@sha256:ab", useSystemHostname: true, postStartCommands: ["true"] }
    ]
    for (const step of variants.flatMap((input) => render(input).steps)) {
      const checked = spawnSync("dash", ["-n"], { input: step.script, encoding: "utf8" })
      assert.strictEqual(checked.status, 0, `${step.name}: ${checked.stderr}`)
    }
  })
})

describe("steps", () => {
  it("are in order, and carry their names", () => {
    const payload = render({ preStartCommands: ["a", "b"], postStartCommands: ["c"] })
    const names = payload.steps.map((step) => step.name)
    assert.deepStrictEqual(names, [
      "pre-start 1",
      "pre-start 2",
      "download k0s",
      "install k0s",
      "start k0s",
      "wait for k0s",
      "link kubeconfig",
      "wait for node",
      "post-start 1",
      "mark success"
    ])
    for (const step of payload.steps) assert.isTrue(step.script.startsWith(`# step: ${step.name}\n`))
    assert.notInclude(
      render({ preInstalledK0s: true }).steps.map((step) => step.name),
      "download k0s"
    )
  })
  it("keep the join token out of commands", () => {
    const payload = render(EXAMPLES["post-start"])
    assert.notInclude(JSON.stringify(payload.steps), base.joinToken)
    assert.deepStrictEqual(payload.files, [
      { path: "/etc/k0s.token", content: Buffer.from(base.joinToken), mode: "0600" }
    ])
    assert.strictEqual(render({ workingDir: "/etc/k0smotron/" }).files[0]?.path, "/etc/k0smotron/k0s.token")
  })
  it("ingress: the CA's key stays home, keys are root's alone", () => {
    const files = render(EXAMPLES["ingress"]).files
    const modes = Object.fromEntries(files.map((file) => [file.path, file.mode]))
    assert.strictEqual(modes["/etc/haproxy/certs/server.pem"], "0600")
    assert.strictEqual(modes["/etc/haproxy/certs/server.key"], "0600")
    assert.isUndefined(modes["/etc/haproxy/certs/ca.key"])
    const pem = files.find((file) => file.path.endsWith("server.pem"))
    assert.strictEqual(Buffer.from(pem?.content ?? []).toString(), "CERT\nKEY\n")
  })
})

describe("refusals name the field", () => {
  const cases: ReadonlyArray<readonly [Partial<WorkerBootstrapInput>, string]> = [
    [{ machineName: "x".repeat(64) }, "metadata.name of the Machine"],
    [{ machineName: "a;b" }, "metadata.name of the Machine"],
    [{ args: ['--x="'] }, "spec.args[0]"],
    [{ downloadURL: "ftp://x" }, "spec.downloadURL"],
    [{ k0sInstallDir: "bin" }, "spec.k0sInstallDir"],
    [{ workingDir: "./x" }, "spec.workingDir"],
    [{ files: [{ path: "etc/x", content: "" }] }, "spec.files[0].path"],
    [{ files: [{ path: "/etc/x/", content: "" }] }, "spec.files[0].path"],
    [{ files: [{ path: "/x", content: "", permissions: "rw" }] }, "spec.files[0].permissions"],
    [
      {
        files: [
          { path: "/x", content: "" },
          { path: "//x", content: "" }
        ]
      },
      "spec.files[1].path"
    ],
    [{ files: [{ path: "/etc/k0s.token", content: "" }] }, "spec.files[0].path"],
    [{ preStartCommands: ["ok", "x".repeat(130_000)] }, "spec.preStartCommands[1]"]
  ]
  for (const [input, field] of cases) {
    it(field, () => {
      const made = workerBootstrap({ ...base, ...input })
      assert.strictEqual(Result.isFailure(made) ? made.failure.field : "accepted", field)
    })
  }
})
