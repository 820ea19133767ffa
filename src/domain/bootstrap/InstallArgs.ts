/**
 * Owns the arguments of `k0s install`: the user's own, our label and host name, and the one `--kubelet-extra-args` that
 * all sources are merged into (k0s takes the last one given, so two would lose the first).
 */
import * as Result from "effect/Result"
import {
  dropText,
  hasExpansion,
  insideDoubleQuotes,
  joinWords,
  plainText,
  quoteWord,
  shellWords,
  splitAtBlanks,
  textWord,
  type Word
} from "./ShellWords.ts"

export const MACHINE_NAME_LABEL = "k0smotron.io/machine-name"
/** Where kubelet looks for static pods when an ingress proxy must run on the node. */
export const POD_MANIFEST_PATH = "/etc/kubernetes/manifests"

const KUBELET_EXTRA_ARGS = "--kubelet-extra-args"
const HOSTNAME_OVERRIDE = "--hostname-override"
const DATA_DIR = "--data-dir"

export interface InstallArgsInput {
  readonly role: "worker" | "controller"
  /** Undefined: of many machines; then neither label nor host name is theirs all. */
  readonly machineName: string | undefined
  readonly args: ReadonlyArray<string>
  readonly useSystemHostname: boolean
  readonly staticPods: boolean
}

export interface InstallArgs {
  /** Ready for a shell line, in order. */
  readonly words: ReadonlyArray<string>
  /** There will be a Node: every worker, and controllers with `--enable-worker` or `--single`. */
  readonly isNode: boolean
  /** What the node will be called, as written (kubelet lowers it); undefined: the host's own name. */
  readonly nodeName: Word | undefined
  /** Values of flags that other commands must know too; undefined when not given, and but for dataDir when only known on the host. */
  readonly dataDir: string | undefined
  readonly kubeletRootDir: string | undefined
  readonly statusSocket: string | undefined
}

/** Index of the argument that can't be read, and why. */
export interface BadArg {
  readonly index: number
  readonly why: string
}

interface Split {
  readonly args: ReadonlyArray<Word>
  readonly kubelet: ReadonlyArray<Word>
}

/**
 * Takes `--kubelet-extra-args=V`, `--kubelet-extra-args V` in one element, and the flag and its value in two. As in
 * k0smotron everything after the flag at the start of an element is the value, quoted or not; further on in an element it
 * is one word, as for a shell.
 */
const split = (args: ReadonlyArray<string>): Result.Result<Split, BadArg> => {
  const plain: Array<Word> = []
  const kubelet: Array<Word> = []
  let valueNext = false
  for (const [index, arg] of args.entries()) {
    const trimmed = arg.trim()
    const isKubelet = !valueNext && new RegExp(`^${KUBELET_EXTRA_ARGS}(?:[=\\s]|$)`).test(trimmed)
    const words = shellWords(isKubelet ? trimmed.slice(KUBELET_EXTRA_ARGS.length).replace(/^=/, "") : arg)
    if (Result.isFailure(words)) return Result.fail({ index, why: words.failure })
    if (isKubelet && words.success.length === 0 && trimmed === KUBELET_EXTRA_ARGS) valueNext = true
    else if (isKubelet || valueNext) {
      kubelet.push(...words.success)
      valueNext = false
    } else
      for (const word of words.success) {
        const text = plainText(word)
        if (valueNext) {
          kubelet.push(word)
          valueNext = false
        } else if (text === KUBELET_EXTRA_ARGS) valueNext = true
        else if (text.startsWith(`${KUBELET_EXTRA_ARGS}=`)) kubelet.push(dropText(word, KUBELET_EXTRA_ARGS.length + 1))
        else plain.push(word)
      }
  }
  return valueNext
    ? Result.fail({ index: args.length - 1, why: `${KUBELET_EXTRA_ARGS} has no value` })
    : Result.succeed({ args: plain, kubelet })
}

/** Value of the last `--flag=value` or `--flag value`. */
const flagWord = (words: ReadonlyArray<Word>, flag: string): Word | undefined => {
  const values = words.flatMap((word, index) => {
    const text = plainText(word)
    const value =
      text === flag ? words[index + 1] : text.startsWith(`${flag}=`) ? dropText(word, flag.length + 1) : undefined
    return value === undefined ? [] : [value]
  })
  return values.at(-1)
}

/** Undefined, too, when it is not the same on every host. */
const flagValue = (words: ReadonlyArray<Word>, flag: string): string | undefined => {
  const word = flagWord(words, flag)
  return word === undefined || hasExpansion(word) ? undefined : plainText(word)
}

/** A merged value may hold several kubelet flags in one quoted word. */
const kubeletFlags = (words: ReadonlyArray<Word>): ReadonlyArray<Word> =>
  words.flatMap((word) => {
    if (hasExpansion(word)) return splitAtBlanks(word)
    const again = shellWords(plainText(word))
    return Result.isSuccess(again) ? again.success : [word]
  })

const hasFlag = (words: ReadonlyArray<Word>, flag: string): boolean =>
  words.some((word) => plainText(word) === flag || plainText(word).startsWith(`${flag}=`))

/** As k0s reads its boolean flags: the last one counts. */
const isOn = (words: ReadonlyArray<Word>, flag: string): boolean => {
  const last = words.map(plainText).findLast((word) => word === flag || word.startsWith(`${flag}=`))
  return last === flag || /=(?:1|t|true)$/i.test(last ?? "")
}

/** Labels and kubelet's flags are for nodes: `k0s controller` alone takes them, and nobody ever sees them. */
const isNode = (role: InstallArgsInput["role"], words: ReadonlyArray<Word>): boolean =>
  role === "worker" || isOn(words, "--enable-worker") || isOn(words, "--single")

/** Whether a host that is given these arguments becomes a Node; arguments that can't be read make none. */
export const isNodeWith = (role: InstallArgsInput["role"], args: ReadonlyArray<string>): boolean =>
  Result.match(split(args), { onSuccess: (read) => isNode(role, read.args), onFailure: () => false })

/** Files are put there, and waited for, by who can't ask the host. */
const checkedDataDir = ({ args }: InstallArgsInput, read: Split): Result.Result<Split, BadArg> => {
  const word = flagWord(read.args, DATA_DIR)
  return word !== undefined && hasExpansion(word)
    ? Result.fail({
        index: args.findLastIndex((arg) => arg.includes(DATA_DIR)),
        why: `${DATA_DIR} must be written out, for it is needed where the host can't be asked`
      })
    : Result.succeed(read)
}

export const installArgs = (input: InstallArgsInput): Result.Result<InstallArgs, BadArg> =>
  Result.map(
    Result.flatMap(split(input.args), (read) => checkedDataDir(input, read)),
    ({ args, kubelet }) => {
      const becomesNode = isNode(input.role, args)
      const machineName = becomesNode ? input.machineName : undefined
      const theirs = kubeletFlags(kubelet)
      const ownName = hasFlag(theirs, HOSTNAME_OVERRIDE)
      const theirName = flagWord(theirs, HOSTNAME_OVERRIDE)
      const named = machineName !== undefined && !input.useSystemHostname && !ownName
      const ours = [
        ...(named ? [textWord(`${HOSTNAME_OVERRIDE}=${machineName}`)] : []),
        ...(input.staticPods && !hasFlag(theirs, "--pod-manifest-path")
          ? [textWord(`--pod-manifest-path=${POD_MANIFEST_PATH}`)]
          : [])
      ]
      const merged = [...ours, ...kubelet]
      return {
        words: [
          ...(machineName === undefined ? [] : [`--labels=${MACHINE_NAME_LABEL}=${machineName}`]),
          ...args.map(quoteWord),
          ...(merged.length === 0 ? [] : [`${KUBELET_EXTRA_ARGS}="${insideDoubleQuotes(joinWords(merged, " "))}"`])
        ],
        isNode: becomesNode,
        // An empty one is none for kubelet.
        nodeName: named ? textWord(machineName) : theirName?.length === 0 ? undefined : theirName,
        dataDir: flagValue(args, DATA_DIR),
        kubeletRootDir: flagValue(args, "--kubelet-root-dir"),
        statusSocket: flagValue(args, "--status-socket")
      }
    }
  )
