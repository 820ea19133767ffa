/**
 * Owns what is seen of each command of the pages' examples when it ran on a test host: what the witness heard, in order
 * and on its side of k0s' start, and what the host looks like afterwards. Not how it was run.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { WorkerBootstrapInput } from "../../../src/domain/BootstrapScript.ts"
import * as TestHosts from "../hosts/TestHosts.ts"

export const told = (host: TestHosts.TestHost) =>
  Effect.map(TestHosts.witness(host), (lines) => lines.map((line) => `${line.what} ${line.args}`.trim()))

/** What the witness hears of each command of an example, when its real one can't run here. */
const WITNESSED: Readonly<Record<string, ReadonlyArray<string>>> = {
  "apt-get update && apt-get install -y curl jq": ["apt-get update", "apt-get install -y curl jq"],
  "curl -fsSL https://get.docker.com | sh": ["curl https://get.docker.com", "get-docker"],
  "systemctl start docker": ["unit docker"],
  "systemctl start monitoring-agent": ["unit monitoring-agent"],
  "sysctl -p": ["sysctl -p"],
  "docker run -d --name node-exporter -p 9100:9100 prom/node-exporter": [
    "docker run -d --name node-exporter -p 9100:9100 prom/node-exporter"
  ],
  "sysctl vm.max_map_count net.core.somaxconn": ["sysctl vm.max_map_count net.core.somaxconn"],
  "kubectl get nodes --kubeconfig=/var/lib/k0s/pki/admin.conf": [
    "kubectl get nodes --kubeconfig=/var/lib/k0s/pki/admin.conf"
  ]
}
/** What a host looks like afterwards, of those that leave something. */
const LEFT: Readonly<Record<string, (host: TestHosts.TestHost) => string>> = {
  "mkdir -p /etc/k0s/monitoring": () => "test -d /etc/k0s/monitoring",
  "echo 'export MONITORING_ENABLED=true' >> /etc/environment": () =>
    "grep -qx 'export MONITORING_ENABLED=true' /etc/environment",
  "systemctl enable docker": () => "systemctl is-enabled docker",
  "systemctl enable monitoring-agent": () => "systemctl is-enabled monitoring-agent",
  "echo 'vm.max_map_count=262144' >> /etc/sysctl.conf": () => "grep -qx vm.max_map_count=262144 /etc/sysctl.conf",
  "echo 'net.core.somaxconn=65535' >> /etc/sysctl.conf": () => "grep -qx net.core.somaxconn=65535 /etc/sysctl.conf"
}
/** Said on standard output, which cloud-init keeps. */
const SAID = /^echo '([^']*)'$/

const commandsOf = (input: Partial<WorkerBootstrapInput>): ReadonlyArray<string> => [
  ...(input.preStartCommands ?? []),
  ...(input.postStartCommands ?? [])
]

/** `output`: what the commands said, where it is kept; absent: not looked at. */
export const assertRan = Effect.fnUntraced(function* (
  name: string,
  input: Partial<WorkerBootstrapInput>,
  host: TestHosts.TestHost,
  output?: string
) {
  const heard = yield* told(host)
  const k0s = heard.findIndex((line) => line.startsWith("k0s-worker "))
  let last = -1
  for (const [index, command] of commandsOf(input).entries()) {
    const after = index >= (input.preStartCommands?.length ?? 0)
    const expected = command.startsWith("kubectl describe node")
      ? [`kubectl describe node ${host.name} --kubeconfig=/var/lib/k0s/pki/admin.conf`]
      : (WITNESSED[command] ?? [])
    for (const line of expected) {
      const found = heard.indexOf(line, last + 1)
      assert.isAbove(found, last, `${name}: ${line} in order, of ${heard.join("; ")}`)
      assert.strictEqual(found > k0s, after, `${name}: ${line} ${after ? "after" : "before"} k0s started`)
      last = found
    }
    const left = LEFT[command]
    if (left !== undefined) yield* TestHosts.execOk(host, left(host))
    const said = SAID.exec(command)?.[1]
    if (said !== undefined) assert.include(output ?? said, said)
    assert.isTrue(expected.length > 0 || left !== undefined || said !== undefined, `${command} is not looked for`)
  }
})
