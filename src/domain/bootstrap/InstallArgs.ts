/**
 * Owns the arguments of `k0s install`: the user's own, our label and host name, and the one `--kubelet-extra-args` that
 * all sources are merged into (k0s takes the last one given, so two would lose the first).
 */
import * as Result from "effect/Result"
import {
  dropText,
  insideDoubleQuotes,
  joinWords,
  plainText,
  quoteWord,
  shellWords,
  textWord,
  type Word
} from "./ShellWords.ts"

export const MACHINE_NAME_LABEL = "k0smotron.io/machine-name"
/** Where kubelet looks for static pods when an ingress proxy must run on the node. */
export const POD_MANIFEST_PATH = "/etc/kubernetes/manifests"

const KUBELET_EXTRA_ARGS = "--kubelet-extra-args"

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
  /** What the node will be called; undefined: the host's own name, lower case. */
  readonly nodeName: string | undefined
  /** Values of flags that other commands must know too; undefined when not given or only known on the host. */
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
 * k0smotron everything after the flag in its element is the value, quoted or not.
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
    } else plain.push(...words.success)
  }
  return valueNext
    ? Result.fail({ index: args.length - 1, why: `${KUBELET_EXTRA_ARGS} has no value` })
    : Result.succeed({ args: plain, kubelet })
}

/** Value of the last `--flag=value` or `--flag value`, if it is the same on every host. */
const flagValue = (words: ReadonlyArray<Word>, flag: string): string | undefined => {
  const values = words.flatMap((word, index) => {
    const text = plainText(word)
    const value =
      text === flag ? words[index + 1] : text.startsWith(`${flag}=`) ? dropText(word, flag.length + 1) : undefined
    return value === undefined ? [] : [value]
  })
  const last = values.at(-1)
  return last === undefined || last.some((piece) => piece.kind === "expansion") ? undefined : plainText(last)
}

/** A merged value may hold several kubelet flags in one quoted word. */
const kubeletFlags = (words: ReadonlyArray<Word>): ReadonlyArray<Word> =>
  words.flatMap((word) => {
    const again = word.some((piece) => piece.kind === "expansion") ? undefined : shellWords(plainText(word))
    return again !== undefined && Result.isSuccess(again) ? again.success : [word]
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

export const installArgs = (input: InstallArgsInput): Result.Result<InstallArgs, BadArg> =>
  Result.map(split(input.args), ({ args, kubelet }) => {
    const becomesNode = isNode(input.role, args)
    const machineName = becomesNode ? input.machineName : undefined
    const theirs = kubeletFlags(kubelet)
    const ownName = hasFlag(theirs, "--hostname-override")
    const named = machineName !== undefined && !input.useSystemHostname && !ownName
    const ours = [
      ...(named ? [textWord(`--hostname-override=${machineName}`)] : []),
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
      nodeName: ownName ? flagValue(theirs, "--hostname-override") : named ? machineName : undefined,
      dataDir: flagValue(args, "--data-dir"),
      kubeletRootDir: flagValue(args, "--kubelet-root-dir"),
      statusSocket: flagValue(args, "--status-socket")
    }
  })
