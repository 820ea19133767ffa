/**
 * Owns docs/host-commands.md: the text that lists every command line we ever run on a host, made from the rendered
 * steps and from the driver's own shell files, so that it can't drift from them.
 */
import { readdirSync, readFileSync } from "node:fs"
import * as Result from "effect/Result"
import { type WorkerBootstrapInput, workerBootstrap } from "../../src/domain/BootstrapScript.ts"
import type { Step } from "../../src/domain/bootstrap/Payload.ts"
import { type CleaningInput, cleaning } from "../../src/domain/Cleaning.ts"

/** Everything a host's shell may find outside itself; what is used of it must be in the table. */
const TOOLS = new Set(
  `apt-get awk base64 basename busybox cat chattr chgrp chmod chown cmp cp curl cut date dd df dirname du env expr fallocate file find flock
fsync fuser getent grep head hexdump hostname id insmod install ionice journalctl jq k0s kill killall ln logger login ls mkdir
mkfifo mknod mktemp modprobe mount mountpoint mv nc nice nohup nsenter od openssl oras pgrep pidof pkill ps python3 rc-service
rc-update readlink realpath renice rm rmdir script sed seq service setpriv setsid sh sha256sum sleep sort split ssh stat stdbuf stty su
sudo sync systemctl systemd-run tac tail tar tee timeout touch tr truncate tty umount uname uniq update-rc.d uptime wc wget which
who xargs`.split(/\s+/)
)

/** Where a command may stand, and the words that may come between that place and the command. */
const COMMAND =
  /(?<=^|[;&|({)!]|trap ')[ \t]*(?:(?:then|else|elif|do|in|if|while|until|exec|!|bounded|command|[A-Za-z_]\w*=(?:"[^"]*"|'[^']*'|[^\s"';&|()]*)|timeout \d+)[ \t]+)*(?:"\$|[\w/.]*\/)?([a-z][a-z0-9.-]*)"?(?=[\s;&|]|$)/gm
/** With a label of `case` there is no telling from a command that ends a bracket: only this form counts. */
const SUBSTITUTED = /\$\(([a-z][a-z0-9.-]*)\)/g
/** In front of another command, or in a variable that stands in front of one. */
const PREFIXED = /\b(timeout) \d|=(?=setsid\b)(setsid)/g

const withoutComments = (script: string): string => script.replace(/(^|\s)#[^\n]*/g, "$1")

/** Names of the programs a script calls, sorted. A variable that holds a program (`"$k0s"`) counts by its name. */
export const toolsOf = (script: string): ReadonlyArray<string> =>
  [
    ...new Set(
      [COMMAND, SUBSTITUTED, PREFIXED]
        .flatMap((pattern) => [...withoutComments(script).matchAll(pattern)])
        .flatMap((found) => (TOOLS.has(found[1] ?? found[2] ?? "") ? [found[1] ?? found[2] ?? ""] : []))
    )
  ].sort()

const base: WorkerBootstrapInput = {
  machineName: "machine-0",
  version: "v1.27.2+k0s.0",
  joinToken: "TOKEN",
  preStartCommands: ["COMMAND"],
  postStartCommands: ["COMMAND"]
}
const bootstrap = (more: Partial<WorkerBootstrapInput> = {}): ReadonlyArray<Step> =>
  Result.getOrThrow(workerBootstrap({ ...base, ...more })).steps
const named = (steps: ReadonlyArray<Step>, name: string): ReadonlyArray<Step> =>
  steps.filter((step) => step.name === name)

interface Row {
  readonly when: string
  readonly step: Step
}

const clean = (input: Partial<CleaningInput>): ReadonlyArray<Step> =>
  cleaning({ bootstrap: "k0s", role: "controller", downloadedK0s: true, ...input }).steps

export const rows = (): ReadonlyArray<Row> => {
  const when: Record<string, string> = {
    "pre-start 1": "one for each of `preStartCommands`",
    "download k0s": "no `downloadURL`, not `preInstalledK0s`",
    "link kubeconfig": "there are `postStartCommands`",
    "wait for node": "there are `postStartCommands`",
    "post-start 1": "one for each of `postStartCommands`"
  }
  const download = (downloadURL: string, text: string): ReadonlyArray<Row> =>
    named(bootstrap({ downloadURL }), "download k0s").map((step) => ({ when: text, step }))
  return [
    ...bootstrap().flatMap((step) => [
      { when: when[step.name] ?? "always", step },
      ...(step.name === "download k0s"
        ? [
            ...download("https://host/k0s", "`downloadURL` is http or https"),
            ...download("https://host/k0s?signature", "`downloadURL` with a query, user or password"),
            ...download("oci://registry/k0s@sha256:00", "`downloadURL` is oci")
          ]
        : [])
    ]),
    ...clean({}).map((step) => ({
      when: step.name === "leave etcd" ? "cleaning, controllers" : "cleaning",
      step
    })),
    ...clean({ customCleanUpCommands: ["COMMAND"] }).map((step) => ({
      when: "cleaning, instead of the steps above, one for each of `customCleanUpCommands`",
      step
    }))
  ]
}

const DRIVER = new URL("../../src/hosts/driver/", import.meta.url)

export const driverFiles = (): ReadonlyArray<{ readonly name: string; readonly tools: ReadonlyArray<string> }> =>
  readdirSync(DRIVER)
    .filter((name) => name.endsWith(".sh"))
    .sort()
    .map((name) => ({ name, tools: toolsOf(readFileSync(new URL(name, DRIVER), "utf8")) }))

const code = (tools: ReadonlyArray<string>): string => tools.map((tool) => `\`${tool}\``).join(" ") || "—"

export const document = (): string => {
  const all = rows()
  const cell = (row: Row): string => {
    const tools = toolsOf(row.step.script)
    return row.step.script.includes("COMMAND") ? "the user's own" : code(tools)
  }
  return `# Commands that run on a host

Generated by \`UPDATE_GOLDEN=1 npx vitest run --project unit test/domain/hostCommands.test.ts\`; a test fails when it
is out of date. For auditors, sudoers and people who read process lists: this is all that Machinist runs.

Nothing secret is ever an argument: the join token and other files travel on stdin, into files with the mode the
bootstrap gives them. Every step is a file run by \`sh\`, as root, in a session of its own, with a fixed \`PATH\` and
\`/etc/environment\`; with \`useSudo\` the one command that goes through sudo is the driver itself (\`sudo -n sh -c …\`).

\`/var/lib/k0s/pki/admin.conf\`, which the bootstrap page promises to \`postStartCommands\`, exists on controllers only.
On workers the step \`link kubeconfig\` links the kubelet's own kubeconfig there: it may read its own Node and what its
pods need, and is no administrator.

## Steps

| step | when | programs |
|---|---|---|
${all.map((row) => `| ${row.step.name.replace(/ 1$/, " N")} | ${row.when} | ${cell(row)} |`).join("\n")}

\`commandsAsScript\` makes one step, \`all commands\`, of them: the same texts, each in a shell of its own, and \`cat\`,
\`mktemp\`, \`rm\`, \`sh\`.

## The driver

What carries files and steps over one SSH connection, and keeps the journal (\`src/hosts/driver\`).

| part | programs |
|---|---|
${driverFiles()
  .map((file) => `| ${file.name} | ${code(file.tools)} |`)
  .join("\n")}

## Under cloud-init

The same texts in \`runcmd\`, after \`set -e\`: \`/bin/sh -c TEXT\` each, and before each the shell reads
\`/etc/environment\` itself.

## Full texts

With the default directories, for a Machine named machine-0.

${all.map((row) => `### ${row.step.name} — ${row.when.replaceAll("`", "")}\n\n\`\`\`sh\n${row.step.script}\`\`\``).join("\n\n")}
`
}
