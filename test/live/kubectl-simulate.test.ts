/**
 * `machinist simulate` as a process: says where it serves, is found again as it was after SIGKILL, ends on Ctrl-C.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Namespaces } from "../../src/api/Core.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url))

const started = (...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, [MAIN, "simulate", ...args], { stdio: ["ignore", "pipe", "pipe"] })),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Its first line, or how it failed. */
const firstLine = (child: ChildProcess) =>
  Effect.promise(async () => {
    let text = ""
    child.stderr?.on("data", (data: Buffer) => {
      text += data.toString("utf8")
    })
    for await (const data of child.stdout ?? []) {
      text += String(data)
      if (text.includes("\n")) break
    }
    return text.split("\n", 1)[0] ?? ""
  })

const ended = (child: ChildProcess, signal: NodeJS.Signals) =>
  Effect.promise(async () => {
    const exit = once(child, "exit")
    child.kill(signal)
    const [code] = await exit
    return code
  })

const using = <A, E>(kubeconfig: string, use: (client: KubeClientShape) => Effect.Effect<A, E>) =>
  Effect.scoped(Effect.flatMap(makeKubeClient({ _tag: "Files", path: kubeconfig }), use))

describe("machinist simulate", () => {
  it.live("what was answered before a SIGKILL is there after it, under the same kubeconfig", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-simulate-"))),
        (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
      )
      const kubeconfig = join(directory, "new", "kubeconfig")
      const args = ["--json", "--kubeconfig", kubeconfig, "--state", join(directory, "state")]
      const first = yield* started(...args)
      const said = JSON.parse(yield* firstLine(first))
      assert.deepInclude(said, { kubeconfig, continued: false })
      assert.strictEqual(statSync(kubeconfig).mode & 0o777, 0o600)
      for (let index = 0; index < 20; index++) {
        yield* using(kubeconfig, (client) => client.create(Namespaces, { metadata: { name: `n${index}` } }))
      }
      yield* ended(first, "SIGKILL")
      const second = yield* started(...args, "--port", new URL(said.url).port)
      assert.deepInclude(JSON.parse(yield* firstLine(second)), { url: said.url, continued: true })
      const found = yield* using(kubeconfig, (client) => client.list(Namespaces))
      for (let index = 0; index < 20; index++) {
        assert.include(
          found.items.map((each) => each.metadata.name),
          `n${index}`
        )
      }
      assert.deepStrictEqual((yield* using(kubeconfig, (client) => client.list(RemoteMachines))).items, [])
      assert.strictEqual(yield* ended(second, "SIGINT"), 0)
    }).pipe(Effect.scoped)
  )
})
