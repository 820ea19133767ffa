/**
 * Owns running real kubectl binaries against the simulated API server: which there are, a server with its files, and one
 * command's outcome. Does not own what is asked of them.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import { ourCrds } from "../../../src/api/crd/Render.ts"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import { coreCrds } from "../../../src/simulation/core/crds.ts"
import { type Fronted, fronted } from "../../simulation/http/Fronted.ts"
import { widgetDefinition } from "../../simulation/http/Widgets.ts"

const SCRIPT = fileURLToPath(new URL("../../../scripts/build-kubectl.sh", import.meta.url))
/** The oldest whose requests we know. */
const OLDEST_MINOR = 28
/** For one command; seconds are what a kubectl takes on a busy machine. */
const COMMAND_TIMEOUT_MILLIS = 60_000

const minorOf = (binary: string): number => {
  const { stdout } = spawnSync(binary, ["version", "--client", "-o", "json"], { encoding: "utf8" })
  const match = /"gitVersion": "v1\.(\d+)/.exec(stdout ?? "")
  return Number(match?.[1] ?? "0")
}

const hasGo = spawnSync("go", ["version"]).status === 0

export interface Binary {
  readonly title: string
  /** Undefined: not here. */
  readonly path: () => string | undefined
  readonly available: boolean
}

/** The one on PATH if it is new enough, and a current one, built once. */
export const binaries: ReadonlyArray<Binary> = [
  { title: "kubectl on PATH", path: () => "kubectl", available: minorOf("kubectl") >= OLDEST_MINOR },
  {
    title: "current kubectl",
    path: () => {
      const built = spawnSync(SCRIPT, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })
      return built.status === 0 ? built.stdout.trim() : undefined
    },
    available: spawnSync(SCRIPT, ["--check"]).status === 0 || hasGo
  }
]
for (const { title, available } of binaries) if (!available) console.warn(`live kubectl tests skipped: no ${title}`)

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface World extends Fronted {
  /** In the namespace `demo`, in a directory of its own. */
  readonly kubectl: (...args: ReadonlyArray<string>) => Effect.Effect<Outcome>
  /** Standard input from text. */
  readonly kubectlWith: (stdin: string, ...args: ReadonlyArray<string>) => Effect.Effect<Outcome>
  /** Started, and ended with the scope. */
  readonly running: (...args: ReadonlyArray<string>) => ChildProcess
  readonly write: (name: string, text: string) => string
}

export const world = Effect.fnUntraced(function* (binary: string) {
  const front = yield* fronted()
  for (const crd of ourCrds) yield* front.server.apply(JSON.parse(JSON.stringify(crd)))
  const manifests: ReadonlyArray<JsonObject> = [
    ...coreCrds,
    widgetDefinition,
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "demo" } }
  ]
  for (const manifest of manifests) yield* front.server.apply(manifest)
  const home = join(front.directory, "home")
  mkdirSync(home)
  const options = {
    cwd: front.directory,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: home,
      KUBECONFIG: front.kubeconfigPath,
      EDITOR: join(front.directory, "editor"),
      TZ: "UTC"
    }
  }
  const args = (given: ReadonlyArray<string>) => ["--namespace=demo", ...given]
  const run = (stdin: string, given: ReadonlyArray<string>): Effect.Effect<Outcome> =>
    Effect.callback((resume) => {
      const child = execFile(
        binary,
        args(given),
        { ...options, encoding: "utf8", timeout: COMMAND_TIMEOUT_MILLIS, maxBuffer: 16 * 1024 * 1024 },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1
          resume(Effect.succeed({ code, stdout, stderr }))
        }
      )
      child.stdin?.end(stdin)
      return Effect.sync(() => child.kill())
    })
  const children = yield* Effect.acquireRelease(
    Effect.sync((): Array<ChildProcess> => []),
    (started) =>
      Effect.sync(() => {
        for (const child of started) child.kill("SIGKILL")
      })
  )
  const made: World = {
    ...front,
    kubectl: (...given) => run("", given),
    kubectlWith: (stdin, ...given) => run(stdin, given),
    running: (...given) => {
      const child = spawn(binary, args(given), { ...options, stdio: ["ignore", "pipe", "pipe"] })
      children.push(child)
      return child
    },
    write: (name, text) => {
      const file = join(front.directory, name)
      writeFileSync(file, text, { mode: 0o755 })
      return file
    }
  }
  return made
})
