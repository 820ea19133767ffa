/**
 * Holds: cleaning does what CONTRACT section 4 lists, on every service manager and on hosts that have only half of k0s;
 * what is removed is never the host's own; facts survive in the bootstrap data's own words.
 */
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { workerBootstrap } from "../../src/domain/BootstrapScript.ts"
import {
  type CleaningInput,
  cleaning,
  ETCD_NOT_LEFT,
  installFacts,
  isRemovable,
  LEAVE_TRIES
} from "../../src/domain/Cleaning.ts"
import { ScriptHost } from "./ScriptHost.ts"

const worker: CleaningInput = { bootstrap: "k0s", role: "worker" }
const script = (input: CleaningInput, name: string): string =>
  cleaning(input).steps.find((step) => step.name === name)?.script ?? assert.fail(`no step ${name}`)
const names = (input: CleaningInput) => cleaning(input).steps.map((step) => step.name)
/** All steps, whatever they say, as the driver runs them. */
const clean = (host: ScriptHost, input: CleaningInput): ReadonlyArray<number> =>
  cleaning(input).steps.map((step) => host.run(step.script).code)

describe("steps", () => {
  it("of k0s, by role; the user's instead; none for other providers", () => {
    assert.deepStrictEqual(names(worker), ["stop k0s", "reset k0s"])
    assert.deepStrictEqual(names({ ...worker, role: "controller" }), ["leave etcd", "stop k0s", "reset k0s"])
    assert.deepStrictEqual(names({ ...worker, customCleanUpCommands: ["a", "b"] }), ["clean-up 1", "clean-up 2"])
    assert.deepStrictEqual(names({ ...worker, customCleanUpCommands: [] }), ["stop k0s", "reset k0s"])
    assert.deepStrictEqual(names({ bootstrap: "other", role: "worker" }), [])
  })
  it("are scripts for dash", () => {
    const input: CleaningInput = {
      ...worker,
      role: "controller",
      k0sInstallDir: "/opt/k 0's",
      dataDir: "/d d",
      kubeletRootDir: "/k"
    }
    for (const step of cleaning(input).steps) {
      assert.strictEqual(spawnSync("dash", ["-n"], { input: step.script }).status, 0, step.name)
    }
  })
  it("an untouched host has nothing to do", () => {
    using host = new ScriptHost()
    assert.deepStrictEqual(clean(host, { ...worker, role: "controller" }), [0, 0, 0])
    assert.deepStrictEqual(host.log(), [])
  })
})

describe("a whole k0s", () => {
  it("controller under systemd: leave, stop, reset, in the given directories; the binary goes last", () => {
    using host = new ScriptHost()
    host.write("/run/systemd/system/x", "")
    host.write("/etc/systemd/system/k0scontroller.service", "")
    host.write("/var/k0s/etcd/member", "")
    host.stub("systemctl")
    host.stub("k0s", "", "/opt/k0s")
    const input: CleaningInput = {
      ...worker,
      role: "controller",
      k0sInstallDir: "/opt",
      dataDir: "/var/k0s",
      kubeletRootDir: "/data/kubelet",
      downloadedK0s: true
    }
    assert.deepStrictEqual(clean(host, input), [0, 0, 0])
    assert.deepStrictEqual(host.log(), [
      "systemctl is-active --quiet k0scontroller",
      "k0s etcd member-list --data-dir /var/k0s",
      "k0s etcd leave --data-dir /var/k0s",
      "k0s etcd member-list --data-dir /var/k0s",
      "systemctl stop k0scontroller",
      "k0s reset --data-dir /var/k0s --kubelet-root-dir /data/kubelet",
      "systemctl disable k0scontroller",
      "systemctl daemon-reload"
    ])
    assert.isFalse(host.exists("/opt/k0s"))
    assert.isFalse(host.exists("/etc/systemd/system/k0scontroller.service"))
  })
  it("worker under SysV: its own service, not the controller's", () => {
    using host = new ScriptHost()
    host.stub("k0sworker", "", "/etc/init.d/k0sworker")
    host.stub("service")
    host.stub("k0s", "", "/usr/local/bin/k0s")
    assert.deepStrictEqual(clean(host, worker), [0, 0])
    assert.deepStrictEqual(host.log(), ["service k0sworker stop", "k0s reset"])
    assert.isTrue(host.exists("/usr/local/bin/k0s"), "not ours to remove")
  })
  it("OpenRC", () => {
    using host = new ScriptHost()
    host.write("/etc/init.d/k0sworker", "#!/sbin/openrc-run\n", 0o755)
    host.stub("rc-service")
    host.stub("rc-update")
    clean(host, worker)
    assert.deepStrictEqual(host.log(), ["rc-service k0sworker stop", "rc-update del k0sworker"])
  })
  it("a reset that fails keeps the binary, for the next try", () => {
    using host = new ScriptHost()
    host.stub("k0s", "exit 1", "/usr/local/bin/k0s")
    assert.strictEqual(host.run(script({ ...worker, downloadedK0s: true }, "reset k0s")).code, 1)
    assert.isTrue(host.exists("/usr/local/bin/k0s"))
  })
})

describe("half of a k0s", () => {
  it("data without a binary is said, not skipped", () => {
    using host = new ScriptHost()
    host.write("/var/lib/k0s/x", "")
    const outcome = host.run(script(worker, "reset k0s"))
    assert.strictEqual(outcome.code, 1)
    assert.include(outcome.stderr, "can't reset")
  })
  it("an etcd member whose controller is down can't leave, and says so", () => {
    using host = new ScriptHost()
    host.write("/var/lib/k0s/etcd/member", "")
    host.stub("systemctl", "exit 3")
    host.stub("k0s", "", "/usr/local/bin/k0s")
    assert.strictEqual(host.run(script({ ...worker, role: "controller" }, "leave etcd")).code, 1)
  })
  const controller: CleaningInput = { ...worker, role: "controller" }
  const withEtcd = (host: ScriptHost, body: string): void => {
    host.write("/run/systemd/system/x", "")
    host.write("/etc/systemd/system/k0scontroller.service", "")
    host.write("/var/lib/k0s/etcd/member", "")
    host.stub("systemctl")
    host.stub("k0s", body, "/usr/local/bin/k0s")
  }
  const LIST = (members: string) => `case "$*" in "etcd member-list") echo '{"members":{${members}}}' ;; esac`
  it("a member that can't leave holds everything up, and verification names it; given up on after a few tries", () => {
    for (const body of ['[ "$2" != leave ]', LIST('"a":"https://1:2380","b":"https://2:2380"')]) {
      using host = new ScriptHost()
      withEtcd(host, body)
      assert.deepStrictEqual(clean(host, controller), [1, 1, 1])
      assert.isTrue(host.exists(ETCD_NOT_LEFT))
      assert.include(cleaning(controller).verify.paths, ETCD_NOT_LEFT)
      assert.isFalse(host.log().some((line) => /systemctl stop|k0s reset/.test(line)))
      assert.deepStrictEqual(clean(host, { ...controller, tries: LEAVE_TRIES }), [1, 1, 1])
      assert.deepStrictEqual(clean(host, { ...controller, tries: LEAVE_TRIES + 1 }), [1, 0, 0])
      assert.isFalse(host.exists(ETCD_NOT_LEFT))
      assert.include(host.log(), "k0s reset")
    }
  })
  it("a member that leaves on a later try lets the rest go on; the only one need not leave", () => {
    using host = new ScriptHost()
    withEtcd(host, "exit 1")
    clean(host, controller)
    withEtcd(host, "")
    assert.deepStrictEqual(clean(host, { ...controller, tries: 2 }), [0, 0, 0])
    assert.isFalse(host.exists(ETCD_NOT_LEFT))
    // The reset was a stand-in's: what it would have removed is there, and k0s runs no more.
    withEtcd(host, '[ "$1" != etcd ]')
    assert.deepStrictEqual(clean(host, { ...controller, tries: 3 }), [0, 0, 0])
    using last = new ScriptHost()
    withEtcd(last, LIST('"a":"https://1:2380"'))
    assert.deepStrictEqual(clean(last, controller), [0, 0, 0])
    assert.notInclude(last.log(), "k0s etcd leave")
  })
  it("a k0s that no service knows is stopped too", () => {
    using host = new ScriptHost()
    const binary = host.path("/usr/local/bin/k0s")
    host.run("mkdir -p /usr/local/bin")
    const pid = host
      .run(`cp $(readlink -f bin/sleep) ${binary} && (${binary} 300 >/dev/null 2>&1 & echo $!)`)
      .stdout.trim()
    assert.strictEqual(host.run(`readlink /proc/${pid}/exe`).stdout.trim(), binary)
    assert.strictEqual(host.run(script(worker, "stop k0s")).code, 0)
    // Not `kill -0`: where nobody reaps it, a killed process stays visible, but runs nothing any more.
    assert.strictEqual(host.run(`readlink /proc/${pid}/exe`).stdout, "")
  })
})

describe("removal and verification", () => {
  it("token, sentinel and our files; never the host's own, nor what was appended to", () => {
    const { remove, verify } = cleaning({
      ...worker,
      workingDir: "/etc/k0smotron",
      kubeletRootDir: "/data/kubelet",
      files: [
        { path: "/custom-cleanup-script.sh" },
        { path: "/etc/hosts" },
        { path: "/etc/motd", append: true },
        { path: "/root/.ssh/authorized_keys" },
        { path: "/opt/x/../y" }
      ]
    })
    const ours = [
      "/custom-cleanup-script.sh",
      "/etc/k0s.token",
      "/etc/k0smotron/k0s.token",
      "/opt/y",
      "/run/cluster-api/bootstrap-success.complete"
    ]
    assert.deepStrictEqual(remove, ours)
    assert.deepStrictEqual(verify, {
      k0s: true,
      paths: ["/custom-cleanup-script.sh", "/data/kubelet", ...ours.slice(1)]
    })
    assert.isFalse(cleaning({ bootstrap: "other", role: "worker" }).verify.k0s)
  })
  it("isRemovable", () => {
    for (const path of [
      "/",
      "/etc",
      "/etc/",
      "/usr//local",
      "/etc/../etc",
      "etc/x",
      "/etc/ssh/sshd_config",
      "/boot/x",
      "/proc/1",
      "/home/a/.ssh/x",
      "/a\nb"
    ]) {
      assert.isFalse(isRemovable(path), path)
    }
    for (const path of ["/etc/k0s.token", "/custom.sh", "/opt/x", "/etc/hosts.d"])
      assert.isTrue(isRemovable(path), path)
  })
})

describe("installFacts", () => {
  it("of our own rendering", () => {
    const payload = Result.getOrThrow(
      workerBootstrap({
        machineName: "m",
        joinToken: "t",
        k0sInstallDir: "/opt/k 0s",
        workingDir: "/w",
        args: ["--kubelet-root-dir=/data/kubelet", "--data-dir", "/data/k0s"]
      })
    )
    assert.deepStrictEqual(installFacts(payload), {
      role: "worker",
      k0sInstallDir: "/opt/k 0s",
      kubeletRootDir: "/data/kubelet",
      dataDir: "/data/k0s",
      workingDir: "/w",
      downloadedK0s: true
    })
  })
  it("of k0smotron's", () => {
    const facts = installFacts({
      files: [],
      steps: [
        {
          name: "runcmd 1",
          script:
            "k0s install controller --force --env AUTOPILOT_HOSTNAME=c --kubelet-root-dir /k --token-file /etc/k0s.token"
        }
      ]
    })
    assert.deepStrictEqual(facts, {
      role: "controller",
      k0sInstallDir: "/usr/local/bin",
      kubeletRootDir: "/k",
      dataDir: undefined,
      workingDir: undefined,
      downloadedK0s: false
    })
    assert.isUndefined(installFacts({ files: [], steps: [{ name: "a", script: "kubeadm join" }] }))
  })
})
