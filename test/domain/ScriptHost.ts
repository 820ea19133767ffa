/**
 * Owns a pretend host for running rendered commands: a directory that stands for `/`, and a PATH with recording
 * stand-ins (each appends `NAME ARGS` to a log) beside a few real tools. Paths in scripts are moved into the directory
 * by text; /proc and /dev stay real. No root needed.
 */
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { parse } from "yaml"
import { type Payload, renderCloudConfig } from "../../src/domain/CloudConfig.ts"

const TOOLS =
  "sh cat mkdir rm rmdir mv cp chmod grep head tr sleep touch ln mktemp readlink uname timeout sed env dirname date true false test printf ls"

export interface Outcome {
  readonly code: number
  readonly stderr: string
  readonly stdout: string
}

export class ScriptHost {
  readonly root: string
  readonly #bin: string
  constructor() {
    this.root = mkdtempSync(join(tmpdir(), "machinist-script-"))
    this.#bin = join(this.root, "bin")
    mkdirSync(this.#bin)
    mkdirSync(join(this.root, "etc"))
    mkdirSync(join(this.root, "run"))
    mkdirSync(join(this.root, "var/log"), { recursive: true })
    for (const tool of TOOLS.split(" ")) {
      const real = ["/usr/bin", "/bin"].map((dir) => join(dir, tool)).find((path) => existsSync(path))
      if (real !== undefined) symlinkSync(real, join(this.#bin, tool))
    }
    this.write("/log", "")
  }
  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true })
  }
  /** Script or text with the absolute paths our commands use moved under the root. */
  moved(text: string): string {
    return text.replace(/(?<![\w./}$])\/(etc|run|var|usr\/local|opt|data)(?=[/\s"']|$)/g, `${this.root}/$1`)
  }
  path(path: string): string {
    return join(this.root, path)
  }
  write(path: string, content: string | Uint8Array, mode = 0o644): void {
    mkdirSync(dirname(this.path(path)), { recursive: true })
    writeFileSync(this.path(path), content, { mode })
    chmodSync(this.path(path), mode)
  }
  read(path: string): string {
    return readFileSync(this.path(path), "utf8")
  }
  exists(path: string): boolean {
    return existsSync(this.path(path))
  }
  /** A command that logs itself, then runs `body` (paths in it are moved). */
  stub(name: string, body = "", path = `/bin/${name}`): void {
    this.write(path, `#!/bin/sh\necho "${name} $*" >>${this.root}/log\n${this.moved(body)}\n`, 0o755)
  }
  /** What the stand-ins were called with, in order, paths as on a host. */
  log(): ReadonlyArray<string> {
    const text = this.read("/log").replaceAll(this.root, "")
    return text === "" ? [] : text.trimEnd().split("\n")
  }
  run(script: string, shell: ReadonlyArray<string> = ["sh"]): Outcome {
    this.write("/script", this.moved(script))
    const [command = "sh", ...args] = shell
    const done = spawnSync(command, [...args, this.path("/script")], {
      env: { PATH: this.#bin, TMPDIR: this.root },
      cwd: this.root,
      encoding: "utf8",
      timeout: 30_000
    })
    return { code: done.status ?? 255, stderr: done.stderr, stdout: done.stdout }
  }
}

/** What cloud-init 22.4 makes of `runcmd` (util.shellify): one script; strings as they are, list items quoted. */
export const shellify = (entries: ReadonlyArray<unknown>): string =>
  `#!/bin/sh\n${entries
    .map((entry) =>
      Array.isArray(entry) ? entry.map((item) => `'${String(item).replaceAll("'", "'\\''")}'`).join(" ") : String(entry)
    )
    .join("\n")}\n`

/** As real cloud-init runs it: the files, unless they could not be written, then the commands. */
export const boot = (host: ScriptHost, payload: Payload, written = payload.files): Outcome => {
  for (const file of written) host.write(file.path, file.content, Number.parseInt(file.mode, 8))
  return host.run(shellify(parse(Buffer.from(renderCloudConfig(payload)).toString("utf8")).runcmd))
}

/** A k0s that installs, and whose node appears (`joined`) or not. */
export const k0sStub = (joined: boolean): string => `
case "$1 $2" in
  "install worker") mkdir -p /etc/systemd/system /etc/init.d /var/lib/k0s
    [ ! -e /etc/systemd/system/k0sworker.service ] || case "$*" in *--force*) ;; *) echo "service already installed" >&2; exit 1 ;; esac
    echo "$*" >/etc/systemd/system/k0sworker.service
    ${joined ? "echo conf >/var/lib/k0s/kubelet.conf" : ":"} ;;
  "kubectl get") ${joined ? '[ "$5" = jsonpath* ] || true; case "$*" in *jsonpath*) printf True ;; esac' : "exit 1"} ;;
esac`

/** A host that a worker can be bootstrapped on: systemctl, an installer, and a k0s that joins or not. */
export const ready = (joined = true): ScriptHost => {
  const host = new ScriptHost()
  host.stub("systemctl")
  host.stub("k0s", k0sStub(joined), "/stash/k0s")
  // What get.k0s.sh does: no directory is made, and it writes in place.
  host.write(
    "/stash/installer",
    `echo "installer $K0S_INSTALL_PATH $K0S_VERSION" >>${host.root}/log\ncp ${host.root}/stash/k0s "$K0S_INSTALL_PATH/k0s"\n`
  )
  host.stub(
    "curl",
    `while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done; cat "${host.root}/stash/installer" >"$out"`
  )
  return host
}
