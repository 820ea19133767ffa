/**
 * Owns reading cloud-init user data for a host run: ours, k0smotron's, kubeadm's, k3s', RKE2's. Taking it apart is
 * UserData.ts's, files WriteFiles.ts', the smaller modules CloudConfigModules.ts'. What cloud-init alone can do (accounts,
 * disks, reboots) is refused by name, never skipped.
 *
 * Three differences from cloud-init, on purpose: every command is a shell of its own and the first that fails ends the
 * run (the bootstrap page promises both, and k0smotron runs them so); everything runs once, `per-boot` scripts too; files
 * are written before the first command, since a host that answers SSH has booted long ago.
 */
import * as Result from "effect/Result"
import { BootstrapDataError, dataError } from "./BootstrapDataError.ts"
import type { Config } from "./CloudConfigMerge.ts"
import { honouredModules, unsupportedModules } from "./CloudConfigModules.ts"
import { isFrame } from "./Frame.ts"
import type { InstanceData } from "./HostFacts.ts"
import { type Payload, type Step, scriptStep, stepNameOf } from "./Payload.ts"
import { quote } from "./ShellWords.ts"
import { readUserData, type Script } from "./UserData.ts"
import { fetched, writeFiles } from "./WriteFiles.ts"

type Read<A> = Result.Result<A, BootstrapDataError>

const invalid = (message: string): Read<never> => Result.fail(dataError("BadField", message))

/** Things named in a message: more is no bootstrap data of anybody's, and conditions are short. */
const MAX_NAMED = 60

/** Everything that can't be done, in one error: mending one to be told of the next is no way to treat people. */
export const unsupportedError = (things: ReadonlyArray<string>): BootstrapDataError => {
  const all = [...new Set(things)].sort()
  const more = all.length > MAX_NAMED ? ` and ${all.length - MAX_NAMED} more` : ""
  return new BootstrapDataError({
    reason: "Unsupported",
    message: `bootstrap data: ${all.slice(0, MAX_NAMED).join(", ")}${more} can't be done over SSH: use commands and files instead`,
    unsupported: all
  })
}

const list = (config: Config, key: string): Read<ReadonlyArray<unknown>> => {
  const value = config[key]
  if (value === undefined || value === null) return Result.succeed([])
  return Array.isArray(value) ? Result.succeed(value) : invalid(`${key} is not a list`)
}

/** As Python writes it: cloud-init quotes `str(item)`. */
const argument = (value: unknown): string => {
  if (typeof value === "boolean") return value ? "True" : "False"
  return value === null ? "None" : String(value)
}

const isShell = (word: unknown): boolean => word === "/bin/sh" || word === "sh"

/** What our own rendering puts around commands: it is not counted, and a host run has no use for it. */
const isFrameEntry = (entry: unknown): boolean => typeof entry === "string" && isFrame(entry)

/** `undefined`: nothing to run (a comment). */
const scriptOf = (entry: unknown, where: string): Read<string | undefined> => {
  if (entry === null) return Result.succeed(undefined)
  if (typeof entry === "string") return Result.succeed(entry)
  if (!Array.isArray(entry) || entry.some((item) => typeof item === "object" && item !== null)) {
    return invalid(`${where} is neither a command line nor a list of arguments`)
  }
  const [shell, flag, text] = entry
  if (entry.length === 3 && isShell(shell) && flag === "-c" && typeof text === "string") return Result.succeed(text)
  return Result.succeed(entry.length === 0 ? undefined : entry.map((item) => quote(argument(item))).join(" "))
}

/** `# step: NAME` may also stand in the text of another shell: `bash -c TEXT`. */
const nameOf = (entry: unknown, script: string): string | undefined => {
  const last: unknown = Array.isArray(entry) ? entry.at(-1) : undefined
  return stepNameOf(script) ?? (typeof last === "string" ? stepNameOf(last) : undefined)
}

const commands = (config: Config, key: "bootcmd" | "runcmd"): Read<ReadonlyArray<Step>> =>
  Result.gen(function* () {
    const entries = yield* list(config, key)
    const found: Array<Step> = []
    for (const [index, entry] of entries.filter((each) => !isFrameEntry(each)).entries()) {
      const name = `${key} ${index + 1}`
      const script = yield* scriptOf(entry, name)
      if (script === undefined) continue
      if (script.includes("\0")) return yield* invalid(`${name} holds a NUL character`)
      found.push({ name: nameOf(entry, script) ?? name, script })
    }
    return found
  })

const scripts = (all: ReadonlyArray<Script>, when: Script["when"]) =>
  all
    .filter((script) => script.when === when)
    .map(({ part, fileName, text }) => ({ fileName, steps: [scriptStep(`script of part ${part}`, text)] }))

const byFileName = (a: { readonly fileName: string }, b: { readonly fileName: string }): number =>
  a.fileName < b.fileName ? -1 : a.fileName > b.fileName ? 1 : 0

/** `instance`: what jinja templates may ask for; without it they fail with `FactsNeeded`. */
export const parseCloudConfig = (data: Uint8Array, instance?: InstanceData): Read<Payload> =>
  Result.gen(function* () {
    const { config, scripts: found, unsupported } = yield* readUserData(data, instance)
    const files = yield* list(config, "write_files")
    const refused = [...unsupported, ...unsupportedModules(config), ...fetched(files)]
    if (refused.length > 0) return yield* Result.fail(unsupportedError(refused))
    const modules = yield* honouredModules(config)
    // cloud-init makes one script of runcmd, and runs it among the others by its name.
    const last = [...scripts(found, "user"), { fileName: "runcmd", steps: yield* commands(config, "runcmd") }]
    const inOrder = [...scripts(found, "once").sort(byFileName), ...last.sort(byFileName)]
    return {
      files: [...modules.files, ...(yield* writeFiles(files))],
      steps: [
        ...scripts(found, "boothook").flatMap(({ steps }) => steps),
        ...(yield* commands(config, "bootcmd")),
        ...modules.steps,
        ...inOrder.flatMap(({ steps }) => steps)
      ]
    }
  })
