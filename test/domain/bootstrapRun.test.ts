/**
 * Holds: the bootstrap run for real with stand-ins, as cloud-init and as a host run does: order, failures that stop the
 * rest and leave no sentinel, every service manager, every download, bounded waits.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { type WorkerBootstrapInput, workerBootstrap } from "../../src/domain/BootstrapScript.ts"
import { BOOTSTRAP_LOG } from "../../src/domain/bootstrap/Frame.ts"
import type { Payload } from "../../src/domain/CloudConfig.ts"
import { boot, k0sStub, ready, ScriptHost } from "./ScriptHost.ts"

const base: WorkerBootstrapInput = {
  machineName: "machine-test-0",
  version: "v1.27.2+k0s.0",
  joinToken: "H4sIJOINTOKEN"
}
const render = (input: Partial<WorkerBootstrapInput> = {}): Payload =>
  Result.getOrThrow(workerBootstrap({ ...base, ...input }))
const scriptOf = (payload: Payload, name: string): string =>
  payload.steps.find((step) => step.name === name)?.script ?? assert.fail(`no step ${name}`)

/** Without the times. */
const bootstrapLog = (host: ScriptHost): ReadonlyArray<string> =>
  host
    .read(BOOTSTRAP_LOG)
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ /, ""))
const SENTINEL = "/run/cluster-api/bootstrap-success.complete"
const quick = { waits: { k0sSeconds: 0, nodeReadySeconds: 0 } }

describe("under cloud-init's shell", () => {
  it("everything in order, then the sentinel", () => {
    using host = ready()
    const { code } = boot(
      host,
      render({
        preStartCommands: ["echo before >>/etc/trace"],
        postStartCommands: ["cat /var/lib/k0s/pki/admin.conf >>/etc/trace"]
      })
    )
    assert.strictEqual(code, 0)
    assert.isTrue(host.exists(SENTINEL))
    assert.strictEqual(host.read("/etc/trace"), "before\nconf\n")
    assert.deepStrictEqual(bootstrapLog(host).slice(-2), ["step 9 of 9: mark success", "all steps succeeded"])
    const log = host.log().map((line) => line.replace(/\/tmp\.\S+/, "TMP"))
    assert.deepStrictEqual(log, [
      "curl -sSfL --retry 5 -o TMP https://get.k0s.sh",
      "installer /usr/local/bin v1.27.2+k0s.0",
      "k0s install worker --token-file /etc/k0s.token --labels=k0smotron.io/machine-name=machine-test-0 --kubelet-extra-args=--hostname-override=machine-test-0",
      "systemctl start k0sworker",
      "systemctl is-active --quiet k0sworker",
      "k0s kubectl version --client",
      "k0s kubectl get node machine-test-0",
      "k0s kubectl version --client",
      'k0s kubectl get node machine-test-0 -o jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    ])
  })
  const failures: ReadonlyArray<
    readonly [string, string, (host: ScriptHost) => Partial<WorkerBootstrapInput> | undefined]
  > = [
    [
      "a pre-start command",
      "step 2 of 11: pre-start 2, exit code 3",
      () => ({ preStartCommands: ["true", "exit 3", "echo no >/etc/after"] })
    ],
    [
      "the download",
      "step 1 of 8: download k0s, exit code 22",
      (host) => {
        host.stub("curl", "exit 22")
        return undefined
      }
    ],
    [
      "the installer",
      "step 1 of 8: download k0s, exit code 7",
      (host) => {
        host.write("/stash/installer", "exit 7")
        return undefined
      }
    ],
    [
      "install",
      "step 2 of 8: install k0s, exit code 4",
      (host) => {
        host.stub("k0s", "exit 4", "/stash/k0s")
        return undefined
      }
    ],
    [
      "start",
      "step 3 of 8: start k0s, exit code 5",
      (host) => {
        host.stub("systemctl", "exit 5")
        return undefined
      }
    ],
    [
      "a post-start command",
      "step 7 of 9: post-start 1, exit code 1",
      () => ({ postStartCommands: ["false", "echo no >/etc/after"] })
    ]
  ]
  for (const [what, failed, arrange] of failures) {
    it(`${what} fails: nothing after it runs, no sentinel, its number and exit code are in the log`, () => {
      using host = ready()
      const outcome = boot(host, render({ postStartCommands: ["echo no >/etc/after"], ...arrange(host) }))
      assert.notStrictEqual(outcome.code, 0)
      assert.isFalse(host.exists("/etc/after"))
      assert.isFalse(host.exists(SENTINEL))
      assert.strictEqual(bootstrapLog(host).at(-1), `failed: ${failed}`)
      assert.include(outcome.stderr, `machinist: failed: ${failed}`)
    })
  }
  for (const [given, name] of [
    ["--hostname-override=$(echo Edge-7)", "edge-7"],
    ["--hostname-override=Edge-7", "edge-7"],
    ['"--v=2 --hostname-override=Edge-$(echo 7)"', "edge-7"]
  ] as const) {
    it(`waits for the node as kubelet calls it: ${given}`, () => {
      using host = ready()
      const { code } = boot(host, render({ args: [`--kubelet-extra-args=${given}`], postStartCommands: ["true"] }))
      assert.strictEqual(code, 0)
      const asked = host.log().filter((line) => line.startsWith("k0s kubectl get node "))
      assert.isAtLeast(asked.length, 2)
      for (const line of asked) assert.match(line, new RegExp(`^k0s kubectl get node ${name}( |$)`))
    })
  }
  it("a file that was not written stops everything", () => {
    using host = ready()
    const payload = render({
      files: [{ path: "/etc/app.conf", content: "x" }],
      preStartCommands: ["echo no >/etc/after"]
    })
    assert.strictEqual(boot(host, payload, payload.files.slice(0, 1)).code, 1)
    assert.isFalse(host.exists("/etc/after"))
    assert.strictEqual(
      bootstrapLog(host).join().replaceAll(host.root, ""),
      "failed: the file /etc/app.conf was not written"
    )
  })
  it("a log that can't be written fails nothing", () => {
    using host = ready()
    host.run("rmdir var/log")
    host.write("/var/log", "in the way")
    assert.strictEqual(boot(host, render()).code, 0)
    assert.isTrue(host.exists(SENTINEL))
  })
  it("a node that never appears fails within the bound, and says why", () => {
    using host = ready(false)
    const payload = render(quick)
    assert.notStrictEqual(boot(host, payload).code, 0)
    assert.isFalse(host.exists(SENTINEL))
    const again = host.run(scriptOf(payload, "wait for k0s"))
    assert.include(again.stderr, "k0s did not join within 0 seconds")
    assert.include(again.stderr, "kubelet has no credentials yet")
  })
  it("/etc/environment is read before each command, and never run", () => {
    using host = ready()
    host.write("/etc/environment", "A='one two'\nB=$(touch /etc/hacked)\n")
    const commands = [
      'echo "$A|$B" >>/etc/trace',
      "echo 'export C=three' >>/etc/environment",
      'echo "$C" >>/etc/trace',
      "X=1",
      'echo "x$X" >>/etc/trace'
    ]
    assert.strictEqual(
      boot(host, render({ preInstalledK0s: true, preStartCommands: commands, k0sInstallDir: "/stash" })).code,
      127
    )
    assert.strictEqual(host.read("/etc/trace").replaceAll(host.root, ""), "one two|$(touch /etc/hacked)\nthree\nx\n")
    assert.isFalse(host.exists("/etc/hacked"))
  })
})

describe("download k0s", () => {
  it("a URL replaces the binary by renaming, and a failure leaves the old one", () => {
    using host = ready()
    host.write("/opt/k0s", "old", 0o755)
    const payload = render({ downloadURL: "https://h/k0s", k0sInstallDir: "/opt" })
    assert.strictEqual(host.run(scriptOf(payload, "download k0s")).code, 0)
    assert.include(host.read("/opt/k0s"), "installer")
    host.stub("curl", 'echo half >"$5"; exit 22')
    assert.strictEqual(host.run(scriptOf(payload, "download k0s")).code, 22)
    assert.include(host.read("/opt/k0s"), "installer")
    assert.strictEqual(host.run("ls -A /opt/").stdout.trim(), "k0s")
  })
  it("a signed URL is in no command at all, and gone once it was used", () => {
    using host = ready()
    host.stub(
      "curl",
      `while [ $# -gt 0 ]; do case $1 in -o) out=$2 ;; -K) cat "$2" >/opt/config ;; esac; shift; done; : >"$out"`
    )
    const payload = render({ downloadURL: 'https://h/k0s?sig="s3cret"', k0sInstallDir: "/opt" })
    assert.notInclude(JSON.stringify(payload.steps), "s3cret")
    for (const file of payload.files) host.write(file.path, file.content, Number.parseInt(file.mode, 8))
    assert.strictEqual(host.run(scriptOf(payload, "download k0s")).code, 0)
    assert.strictEqual(host.read("/opt/config"), 'url = "https://h/k0s?sig=\\"s3cret\\""\n')
    assert.isFalse(host.exists("/etc/k0s.download"))
    assert.strictEqual(payload.files[1]?.mode, "0600")
  })
  it("oci: oras has a HOME", () => {
    using host = ready()
    host.stub("oras", 'echo "home $HOME" >"$4"')
    const payload = render({ downloadURL: "oci://r.example/k0s@sha256:ab", k0sInstallDir: "/opt" })
    assert.strictEqual(host.run(scriptOf(payload, "download k0s")).code, 0)
    assert.strictEqual(host.read("/opt/k0s"), "home /root\n")
    assert.match(host.log().at(-1) ?? "", /^oras blob fetch --output \S+ r\.example\/k0s@sha256:ab$/)
  })
})

describe("install k0s", () => {
  it("again for the same machine is forced, over a stranger's service it fails", () => {
    using host = ready()
    host.stub("k0s", k0sStub(true), "/usr/local/bin/k0s")
    const install = scriptOf(render(), "install k0s")
    assert.strictEqual(host.run(install).code, 0)
    assert.strictEqual(host.run(install).code, 0)
    assert.isTrue(host.log()[1]?.endsWith("--force"))
    const service = "/etc/systemd/system/k0sworker.service"
    host.write(service, "k0s worker --token-file=/t --labels=k0smotron.io/machine-name=someone-else")
    assert.strictEqual(host.run(install).code, 1)
    // Cut off while k0s wrote it.
    host.write(service, "")
    assert.strictEqual(host.run(install).code, 0)
  })
})

describe("start k0s", () => {
  const start = scriptOf(render(), "start k0s")
  const cases: ReadonlyArray<readonly [string, (host: ScriptHost) => void, ReadonlyArray<string>]> = [
    [
      "systemd",
      (host) => {
        host.write("/run/systemd/system/x", "")
        host.stub("systemctl")
        host.stub("service")
      },
      ["systemctl start k0sworker"]
    ],
    [
      "OpenRC",
      (host) => {
        host.write("/run/openrc/softlevel", "")
        host.stub("rc-service")
        host.stub("service")
      },
      ["rc-service k0sworker start"]
    ],
    [
      "OpenRC by its script",
      (host) => {
        host.write("/etc/init.d/k0sworker", "#!/sbin/openrc-run\n", 0o755)
        host.stub("rc-service")
      },
      ["rc-service k0sworker start"]
    ],
    [
      "SysV",
      (host) => {
        host.stub("k0sworker", "", "/etc/init.d/k0sworker")
        host.stub("service")
        host.stub("systemctl")
      },
      ["service k0sworker start"]
    ],
    ["SysV without service", (host) => host.stub("k0sworker", "", "/etc/init.d/k0sworker"), ["k0sworker start"]],
    ["only systemctl", (host) => host.stub("systemctl"), ["systemctl start k0sworker"]]
  ]
  for (const [name, arrange, log] of cases) {
    it(name, () => {
      using host = new ScriptHost()
      arrange(host)
      assert.strictEqual(host.run(start).code, 0)
      assert.deepStrictEqual(host.log(), log)
    })
  }
  it("nothing: a clear failure", () => {
    using host = new ScriptHost()
    const outcome = host.run(start)
    assert.strictEqual(outcome.code, 1)
    assert.include(outcome.stderr, "no supported service manager")
  })
})

describe("waiting", () => {
  it("a k0s without kubectl is believed by its status", () => {
    for (const [success, code] of [
      ["true", 0],
      ["false", 1]
    ] as const) {
      using host = new ScriptHost()
      host.stub("systemctl")
      host.write("/var/lib/k0s/kubelet.conf", "x")
      host.stub(
        "k0s",
        `[ "$1" = status ] || exit 1\nprintf '{"Role":"worker",\\n "WorkerToAPIConnectionStatus": {\\n  "Message": "",\\n  "Success": ${success}\\n }}'`,
        "/usr/local/bin/k0s"
      )
      assert.strictEqual(host.run(scriptOf(render(quick), "wait for k0s")).code, code)
      assert.strictEqual(host.run(scriptOf(render({ ...quick, postStartCommands: ["true"] }), "wait for node")).code, 0)
    }
  })
  it("a node that isn't Ready in time delays postStart, no more", () => {
    using host = new ScriptHost()
    host.stub("k0s", 'case "$*" in *jsonpath*) printf False ;; esac', "/usr/local/bin/k0s")
    const outcome = host.run(scriptOf(render({ ...quick, postStartCommands: ["true"] }), "wait for node"))
    assert.strictEqual(outcome.code, 0)
    assert.include(outcome.stderr, "not Ready after 0 seconds")
  })
  it("useSystemHostname asks for the host's name in lower case", () => {
    using host = new ScriptHost()
    host.stub("systemctl")
    host.write("/var/lib/k0s/kubelet.conf", "x")
    host.run("rm bin/uname")
    host.stub("uname", "echo HOST-9")
    host.stub("k0s", "", "/usr/local/bin/k0s")
    assert.strictEqual(host.run(scriptOf(render({ useSystemHostname: true }), "wait for k0s")).code, 0)
    assert.include(host.log(), "k0s kubectl get node host-9")
  })
  it("a real admin.conf is left alone", () => {
    using host = new ScriptHost()
    host.write("/var/lib/k0s/kubelet.conf", "kubelet")
    host.write("/var/lib/k0s/pki/admin.conf", "admin")
    assert.strictEqual(host.run(scriptOf(render({ postStartCommands: ["true"] }), "link kubeconfig")).code, 0)
    assert.strictEqual(host.read("/var/lib/k0s/pki/admin.conf"), "admin")
  })
})
