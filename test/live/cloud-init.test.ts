/**
 * Holds, with Debian's real cloud-init under a real systemd: what we render is run in order, as root, each command in a
 * shell of its own; the first that fails stops the rest, leaves no sentinel, and can be found on the host; contents and
 * commands arrive as they were; custom user data is part of it. Every command of the pages' examples is run.
 */
import { createHash, randomBytes } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { bootstrapData } from "../../src/domain/BootstrapData.ts"
import type { WorkerBootstrapInput } from "../../src/domain/BootstrapScript.ts"
import { type ControllerBootstrapInput, controllerBootstrap } from "../../src/domain/ControllerScript.ts"
import { pageExamples, payloadOf, workerInput } from "../support/pageExamples.ts"
import * as CloudInit from "./cloudinit/CloudInit.ts"
import * as PageCommands from "./cloudinit/PageCommands.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const MACHINE = "machine-test-0"

const rendered = (input: Partial<WorkerBootstrapInput>, customUserData?: string | Uint8Array): Uint8Array => {
  const payload = payloadOf({
    machineName: MACHINE,
    joinToken: TestHosts.joinToken(),
    version: "v1.27.2+k0s.0",
    waits: { k0sSeconds: 60, nodeReadySeconds: 30 },
    ...input
  })
  const data = bootstrapData(
    payload,
    customUserData === undefined ? {} : { customUserData: Buffer.from(customUserData) }
  )
  return Result.getOrThrow(data).value
}

/** One host a case, side by side. */
const withHosts = <A>(
  cases: ReadonlyArray<A>,
  check: (one: A, host: TestHosts.TestHost) => Effect.Effect<void, TestHosts.TestHostError>
) =>
  Effect.gen(function* () {
    const hosts = yield* TestHosts.systemd(cases.length)
    const pairs = cases.flatMap((one, index) => {
      const host = hosts[index]
      return host === undefined ? [] : [{ one, host }]
    })
    assert.strictEqual(pairs.length, cases.length)
    yield* Effect.forEach(pairs, ({ one, host }) => check(one, host), { concurrency: 2, discard: true })
  }).pipe(Effect.scoped)

describe.skipIf(CloudInit.unavailable !== undefined)(`real cloud-init ${CloudInit.unavailable ?? ""}`, () => {
  it.live("every example of the pages: all its commands, in order, and the sentinel", () =>
    withHosts(
      pageExamples,
      Effect.fnUntraced(function* ({ name, config }, host) {
        yield* CloudInit.installStandIns(host)
        const input = workerInput(config)
        const data = rendered(input)
        assert.strictEqual(yield* CloudInit.schemaErrors(host, data), "", name)
        const booted = yield* CloudInit.firstBoot(host, data)
        assert.deepStrictEqual(booted.errors, [], `${name}: ${booted.output}`)
        assert.deepStrictEqual(booted.warnings, [], name)
        assert.isTrue(booted.sentinel, name)
        assert.strictEqual(booted.log.at(-1), "all steps succeeded", name)
        yield* PageCommands.assertRan(name, input, host, booted.output)
      })
    )
  )

  const pair = (name: string) => ({ cert: `${name} certificate\n`, key: `${name} key\n` })
  const controllers: ReadonlyArray<Omit<ControllerBootstrapInput, "machineName">> = [
    {
      join: { as: "first", certificates: { ca: pair("ca"), sa: pair("sa"), proxy: pair("proxy"), etcd: pair("etcd") } }
    },
    { join: { as: "joining", joinToken: TestHosts.joinToken() }, args: ["--enable-worker"] }
  ]
  it.live("controllers: post-start commands run once they serve, with the kubeconfig that the page promises", () =>
    withHosts(
      controllers,
      Effect.fnUntraced(function* (input, host) {
        const { as } = input.join
        const payload = controllerBootstrap({
          machineName: MACHINE,
          version: "v1.27.2+k0s.0",
          k0sConfig: { apiVersion: "k0s.k0sproject.io/v1beta1", kind: "ClusterConfig", metadata: { name: "k0s" } },
          preStartCommands: ["witness before"],
          postStartCommands: [
            "KUBECONFIG=/var/lib/k0s/pki/admin.conf k0s kubectl get --raw /readyz && witness serving",
            ...(input.args === undefined
              ? []
              : [`k0s kubectl get node ${MACHINE} -o name --kubeconfig=/var/lib/k0s/pki/admin.conf && witness ready`])
          ],
          ...input
        })
        const data = Result.getOrThrow(bootstrapData(Result.getOrThrow(payload), {})).value
        assert.strictEqual(yield* CloudInit.schemaErrors(host, data), "", as)
        const booted = yield* CloudInit.firstBoot(host, data)
        assert.deepStrictEqual(booted.errors, [], `${as}: ${booted.output}`)
        assert.deepStrictEqual(booted.warnings, [], as)
        assert.isTrue(booted.sentinel, as)
        const heard = (yield* PageCommands.told(host)).map((line) => line.split(" ")[0])
        const order = ["before", "k0s-controller", "serving", ...(input.args === undefined ? [] : ["ready"])]
        assert.deepStrictEqual(
          heard.filter((what) => what !== undefined && order.includes(what)),
          order,
          as
        )
        if (as === "first")
          yield* TestHosts.execOk(
            host,
            "stat -c %a /var/lib/k0s/pki/ca.key /var/lib/k0s/pki/etcd/ca.key | sort -u | grep -x 600"
          )
      })
    )
  )

  interface Failing {
    readonly what: string
    readonly input: Partial<WorkerBootstrapInput>
    readonly custom?: string
    readonly before?: (host: TestHosts.TestHost) => Effect.Effect<void, TestHosts.TestHostError>
    readonly log: string
  }
  const failing: ReadonlyArray<Failing> = [
    {
      what: "a pre-start command",
      input: { preStartCommands: ["witness one", "exit 42", "witness never"] },
      log: "failed: step 2 of 8: pre-start 2, exit code 42"
    },
    {
      what: "the download",
      input: { postStartCommands: ["witness never"] },
      before: (host) => TestHosts.fail(host, "curl", "always"),
      log: "failed: step 1 of 8: download k0s, exit code 22"
    },
    {
      what: "the installation",
      input: { postStartCommands: ["witness never"] },
      before: (host) => TestHosts.fail(host, "install", "always"),
      log: "failed: step 2 of 8: install k0s, exit code 1"
    },
    {
      what: "k0s that never joins",
      input: { postStartCommands: ["witness never"], waits: { k0sSeconds: 1, nodeReadySeconds: 1 } },
      before: (host) => TestHosts.hang(host, "worker"),
      log: "failed: step 4 of 8: wait for k0s, exit code 1"
    },
    {
      what: "a post-start command that is killed",
      input: { postStartCommands: ["kill -9 $$", "witness never"] },
      log: "failed: step 7 of 9: post-start 1, exit code 137"
    },
    {
      what: "a file that can't be written",
      input: { files: [{ path: "/proc/nothing/here", content: "x" }], preStartCommands: ["witness never"] },
      log: "failed: the file /proc/nothing/here was not written"
    },
    {
      what: "a command of custom user data",
      input: {},
      custom: "runcmd:\n- witness mine\n- [sh, -c, 'exit 5']\n- witness never\n",
      log: "failed: custom user data, exit code 5"
    }
  ]
  it.live("what fails stops the rest, leaves no sentinel, and can be found", () =>
    withHosts(
      failing,
      Effect.fnUntraced(function* ({ before, custom, input, log, what }, host) {
        if (before !== undefined) yield* before(host)
        const booted = yield* CloudInit.firstBoot(host, rendered(input, custom))
        assert.isFalse(booted.sentinel, what)
        assert.isAbove(booted.errors.length, 0, what)
        assert.strictEqual(booted.log.at(-1), log, what)
        assert.include(booted.output, `machinist: ${log}`, what)
        const heard = yield* PageCommands.told(host)
        assert.notInclude(heard, "never", what)
        if (custom !== undefined) assert.include(heard, "mine")
      })
    )
  )

  const sha = (content: string | Uint8Array): string => createHash("sha256").update(content).digest("hex")
  const awkward: Readonly<Record<string, string | Uint8Array>> = {
    quotes: `'single' "double" \`back\` \\ \\n $HOME $(id) \${X:-y} %s !`,
    jinja: "{{ v1.instance_id }} {% if x %} {# comment #}",
    unicode: "größe 日本語 🦊 \u2028\u0085\ufeff end",
    newlines: "\n\n  indented\n\ttab\r\ncarriage\n\n\n",
    "no newline": "x",
    empty: "",
    yaml: "- a: &b [c]\n--- \n...\n# no comment\nyes: 0644 1:30\n",
    binary: randomBytes(4096),
    large: "a line of a large file, again and again\n".repeat(26_214)
  }
  const commands = Object.entries(awkward).flatMap(([name, content]) =>
    typeof content === "string" && content.length < 1000 && !content.includes("\0")
      ? [{ name, content, command: `cat >'/root/by command ${name}' <<'END_OF_TEXT'\n${content}\nEND_OF_TEXT` }]
      : []
  )
  it.live("contents and commands arrive as they were; large files compressed", () =>
    withHosts(
      [true, false],
      Effect.fnUntraced(function* (whole, host) {
        // Without markup everything goes through jinja.
        const names = Object.keys(awkward).filter((name) => whole || name !== "jinja")
        const files = names.map((name) => ({
          path: `/root/${name}`,
          content: awkward[name] ?? "",
          permissions: "0640"
        }))
        const data = rendered({
          files,
          preStartCommands: [
            "X=1; cd /; umask 077",
            'test -z "$X" && test "$(id -u)" = 0',
            ...commands.filter(({ name }) => names.includes(name)).map(({ command }) => command)
          ]
        })
        assert.strictEqual(Buffer.from(data).toString().startsWith("## template: jinja\n"), !whole)
        assert.isBelow(data.length, 1024 * 1024)
        assert.strictEqual(yield* CloudInit.schemaErrors(host, data), "")
        const booted = yield* CloudInit.firstBoot(host, data)
        assert.isTrue(booted.sentinel, booted.output)
        for (const name of names) {
          const path = `'/root/${name}'`
          const found = yield* TestHosts.execOk(host, `sha256sum <${path}; stat -c %a:%U:%G ${path}`)
          assert.strictEqual(found, `${sha(awkward[name] ?? "")}  -\n640:root:root\n`, name)
        }
        for (const { content, name } of commands.filter((one) => names.includes(one.name))) {
          const found = yield* TestHosts.execOk(host, `sha256sum <'/root/by command ${name}'`)
          assert.strictEqual(found.trim(), `${sha(`${content}\n`)}  -`, `by command: ${name}`)
        }
      })
    )
  )

  interface Custom {
    readonly what: string
    readonly data: string
    readonly heard: ReadonlyArray<string>
  }
  const customs: ReadonlyArray<Custom> = [
    {
      what: "without its header",
      data: "write_files:\n- {path: /root/mine, content: ä}\nruncmd:\n- witness mine $(cat /root/mine)\n",
      heard: ["mine ä"]
    },
    {
      what: "jinja",
      data: "## template: jinja\n#cloud-config\nruncmd:\n- witness mine {{ v1.instance_id[:2] }}\n",
      heard: ["mine i-"]
    },
    { what: "a script", data: "#!/bin/sh\nwitness script\n", heard: ["script"] },
    {
      what: "a multipart of its own",
      data: [
        'Content-Type: multipart/mixed; boundary="B"',
        "MIME-Version: 1.0",
        "",
        "--B",
        "Content-Type: text/cloud-config",
        "",
        "#cloud-config\nruncmd: [witness first part]",
        "--B",
        "Content-Type: text/x-shellscript",
        "",
        "#!/bin/sh\nwitness second part",
        "--B--",
        ""
      ].join("\n"),
      heard: ["first part", "second part"]
    }
  ]
  it.live("custom user data runs beside ours, before the sentinel", () =>
    withHosts(
      customs,
      Effect.fnUntraced(function* ({ data, heard, what }, host) {
        const input = { preStartCommands: ["witness ours {{ }}"] }
        const booted = yield* CloudInit.firstBoot(host, rendered(input, data))
        assert.isTrue(booted.sentinel, `${what}: ${booted.output}\n${booted.warnings.join("\n")}`)
        assert.deepStrictEqual(booted.errors, [], what)
        const all = yield* PageCommands.told(host)
        for (const line of ["ours {{ }}", ...heard]) assert.include(all, line, what)
      })
    )
  )
})
