/** Holds: args with shell quotes and expansions mean what they meant in k0smotron's shell line, and can't break it. */
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { installArgs } from "../../src/domain/bootstrap/InstallArgs.ts"
import { plainText, quote, quoteWord, shellWords, type Word } from "../../src/domain/bootstrap/ShellWords.ts"

/** What a real shell makes of a line: its arguments, one a NUL-ended string. */
const argv = (line: string): ReadonlyArray<string> =>
  spawnSync("sh", ["-c", `printf '%s\\0' ${line}`], { encoding: "utf8", env: { PATH: "/usr/bin:/bin", NAME: "a b" } })
    .stdout.split("\0")
    .slice(0, -1)

const requoted = (line: string): string => Result.getOrThrow(shellWords(line)).map(quoteWord).join(" ")

describe("quote", () => {
  it.prop(
    "gives the shell back exactly the text",
    [Schema.String],
    ([text]) => {
      const sent = text.replaceAll("\0", "").toWellFormed()
      const [got] = argv(quote(sent))
      return got === sent
    },
    { arbitrary: { runs: 50 } }
  )
})

describe("shellWords", () => {
  for (const line of [
    "--a --b=c",
    `--x="a b" 'c d' e\\ f "q\\"q" 'don'\\''t'`,
    `"" '' plain`,
    `--n="$NAME" pre"$NAME"post`,
    `--n=$(printf "%s" "x y") "\${NAME:-no}" \`echo hi\``,
    `"a\\nb" 'a\\nb' $ "100$" "$((1+2))"`,
    "  spaced\tout  "
  ]) {
    it(`requoting keeps ${line}`, () => {
      const inQuotes = line
        .replace("--n=$(printf", '--n="$(printf')
        .replace('"x y")', '"x y")"')
        .replace("`echo hi`", '"`echo hi`"')
      assert.deepStrictEqual(argv(requoted(line)), argv(inQuotes))
    })
  }
  it("operators are text", () => {
    assert.deepStrictEqual(argv(requoted("a;b |c &d >e #f *")), ["a;b", "|c", "&d", ">e", "#f", "*"])
  })
  it("unpaired quotes and unfinished expansions are errors", () => {
    for (const bad of [`"a`, "'a", "$(a", "${a", "`a", `"$(a"`]) assert.isTrue(Result.isFailure(shellWords(bad)), bad)
  })
})

describe("installArgs", () => {
  const make = (args: ReadonlyArray<string>, more: { useSystemHostname?: boolean; staticPods?: boolean } = {}) =>
    Result.getOrThrow(
      installArgs({ role: "worker", machineName: "m-0", args, useSystemHostname: false, staticPods: false, ...more })
    )
  const line = (args: ReadonlyArray<string>, more = {}) => make(args, more).words.join(" ")
  const LABEL = "--labels=k0smotron.io/machine-name=m-0"
  const nameOf = ({ nodeName }: { readonly nodeName: Word | undefined }) =>
    nodeName === undefined ? undefined : plainText(nodeName)

  it("label first, one kubelet-extra-args last", () => {
    assert.strictEqual(line([]), `${LABEL} --kubelet-extra-args="--hostname-override=m-0"`)
    assert.strictEqual(
      line(["--labels=a=b", "--debug"]),
      `${LABEL} --labels=a=b --debug --kubelet-extra-args="--hostname-override=m-0"`
    )
  })
  for (const args of [
    ['--kubelet-extra-args="--v=4 --x=y"'],
    ["--kubelet-extra-args='--v=4 --x=y'"],
    ["--kubelet-extra-args=--v=4 --x=y"],
    ["--kubelet-extra-args --v=4 --x=y"],
    ["--kubelet-extra-args", "--v=4 --x=y"],
    ["--kubelet-extra-args=--v=4", "--kubelet-extra-args=--x=y"]
  ]) {
    it(`merges ${JSON.stringify(args)}`, () => {
      assert.strictEqual(line(args), `${LABEL} --kubelet-extra-args="--hostname-override=m-0 --v=4 --x=y"`)
    })
  }
  it("ingress adds static pods to the same flag", () => {
    assert.strictEqual(
      line(['--kubelet-extra-args="--v=4"'], { staticPods: true }),
      `${LABEL} --kubelet-extra-args="--hostname-override=m-0 --pod-manifest-path=/etc/kubernetes/manifests --v=4"`
    )
  })
  it("useSystemHostname: no override, the user's flags still there", () => {
    assert.strictEqual(
      line(["--kubelet-extra-args=--v=4"], { useSystemHostname: true }),
      `${LABEL} --kubelet-extra-args="--v=4"`
    )
    assert.strictEqual(line([], { useSystemHostname: true }), LABEL)
    assert.isUndefined(make([], { useSystemHostname: true }).nodeName)
  })
  it("a user's own host name wins, and the node is looked for under it", () => {
    const made = make(['--kubelet-extra-args="--v=2 --hostname-override=other"'])
    assert.strictEqual(nameOf(made), "other")
    assert.strictEqual(made.words.at(-1), '--kubelet-extra-args="--v=2 --hostname-override=other"')
  })
  it("also one that only the host knows, alone or among other flags", () => {
    for (const value of [
      "--hostname-override=$(hostname -f)",
      "--hostname-override $(hostname -f)",
      '"--v=2 --hostname-override=$(hostname -f)"',
      '"--node-ip=$IP --hostname-override=$(hostname -f) --v=2"'
    ]) {
      const made = make([`--kubelet-extra-args=${value}`])
      assert.strictEqual(nameOf(made), "$(hostname -f)", value)
      assert.notInclude(made.words.join(" "), "--hostname-override=m-0", value)
    }
    assert.isUndefined(make(["--kubelet-extra-args=--hostname-override="]).nodeName)
  })
  it("merges the flag wherever it is in an element", () => {
    const merged = `${LABEL} --debug --kubelet-extra-args="--hostname-override=m-0 --v=5"`
    for (const args of [
      ["--debug --kubelet-extra-args=--v=5"],
      ['--debug --kubelet-extra-args="--v=5"'],
      ["--debug --kubelet-extra-args --v=5"],
      ["--debug --kubelet-extra-args", "--v=5"]
    ])
      assert.strictEqual(line(args), merged, args.join("|"))
  })
  it("expansions are the host's to make", () => {
    assert.strictEqual(
      line(["--kubelet-extra-args=--node-ip=$(hostname -I)"]),
      `${LABEL} --kubelet-extra-args="--hostname-override=m-0 --node-ip=$(hostname -I)"`
    )
  })
  it("reads the directories that other commands must know", () => {
    const made = make(["--data-dir=/d", "--kubelet-root-dir '/k l'", "--status-socket=/s"])
    assert.deepStrictEqual([made.dataDir, made.kubeletRootDir, made.statusSocket], ["/d", "/k l", "/s"])
  })
  it("a controller that is no node has neither label nor host name; one that is has both", () => {
    const controller = (args: ReadonlyArray<string>) =>
      Result.getOrThrow(
        installArgs({ role: "controller", machineName: "m-0", args, useSystemHostname: false, staticPods: false })
      )
    const both = `${LABEL} %s --kubelet-extra-args="--hostname-override=m-0"`
    for (const [args, isNode] of [
      [["--debug"], false],
      [["--enable-worker"], true],
      [["--enable-worker=true"], true],
      [["--enable-worker=false"], false],
      [["--enable-worker", "--enable-worker=false"], false],
      [["--single"], true]
    ] as const) {
      const made = controller(args)
      const words = args.join(" ")
      assert.strictEqual(made.words.join(" "), isNode ? both.replace("%s", words) : words)
      assert.strictEqual(made.isNode, isNode)
      assert.strictEqual(nameOf(made), isNode ? "m-0" : undefined)
    }
  })
  it("machines that share their data share neither label nor host name", () => {
    const input = { role: "worker", machineName: undefined, useSystemHostname: false, staticPods: false } as const
    const made = Result.getOrThrow(installArgs({ ...input, args: ["--kubelet-extra-args=--v=4", "--debug"] }))
    assert.deepStrictEqual(made.words, ["--debug", '--kubelet-extra-args="--v=4"'])
    assert.isUndefined(made.nodeName)
  })
  it("names the bad argument", () => {
    const input = { role: "worker" as const, machineName: "m", useSystemHostname: false, staticPods: false }
    assert.deepStrictEqual(
      installArgs({ ...input, args: ["--a", `--b="x`] }),
      Result.fail({ index: 1, why: "unpaired quote" })
    )
    assert.isTrue(Result.isFailure(installArgs({ ...input, args: ["--kubelet-extra-args"] })))
    assert.isTrue(Result.isFailure(installArgs({ ...input, args: ["--debug --kubelet-extra-args"] })))
  })
  it("a data directory that only the host knows is refused: files are put there, and waited for", () => {
    const input = { role: "worker" as const, machineName: "m", useSystemHostname: false, staticPods: false }
    for (const args of [
      ["--debug", "--data-dir=$HOME/k0s"],
      ["--debug", "--data-dir $HOME/k0s"]
    ]) {
      const made = installArgs({ ...input, args })
      assert.strictEqual(Result.isFailure(made) ? made.failure.index : undefined, 1)
    }
  })
})
