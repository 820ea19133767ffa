/**
 * Owns whose host key a machine's host and jump hosts are trusted by: the annotations that pin them, the fields and
 * Secrets that give them, and what is to be pinned when a key was seen first. Pure. Whether a key is accepted is
 * ssh/HostKeys.ts's; when a pin is written, domain/Machine.ts's.
 */
import * as Result from "effect/Result"
import type { KubeObject } from "../api/Kind.ts"
import * as Names from "../api/Names.ts"
import { HOST_DEFAULTS, type JumpHost } from "../api/RemoteMachine.ts"
import type { Failure, Pins } from "../domain/Machine.ts"
import type { HostReport } from "../hosts/HostRuns.ts"
import { badLine, type HostKeyTrust, isFirstUse, parsePins, pinText } from "../ssh/HostKeys.ts"
import { knownName } from "../ssh/KnownHosts.ts"
import type { SshTarget } from "../ssh/SshClient.ts"
import { inputFailure } from "./MachineFailures.ts"
import { annotation, keyOf } from "./Objects.ts"

/** Of one host: they go with it from tenant to tenant. */
export const PIN_ANNOTATIONS = [Names.HOST_KEY_ANNOTATION, Names.JUMP_HOST_KEYS_ANNOTATION] as const

/** The pins an object carries, as annotations of another one. */
export const pinsOn = (object: KubeObject): { readonly [name: string]: string } =>
  Object.fromEntries(
    PIN_ANNOTATIONS.flatMap((name) => {
      const value = annotation(object, name)
      return value === undefined || value.trim() === "" ? [] : [[name, value]]
    })
  )

export const pinned = (object: KubeObject): Pins => {
  const { [Names.HOST_KEY_ANNOTATION]: hostKey, [Names.JUMP_HOST_KEYS_ANNOTATION]: jumpHostKeys } = pinsOn(object)
  return {
    ...(hostKey === undefined ? {} : { hostKey }),
    ...(jumpHostKeys === undefined ? {} : { jumpHostKeys })
  }
}

/** What a pin that was seen first changes on the object: one that is there, a person's perhaps, is never written over. */
export const pinPatch = (object: KubeObject, pins: Pins | undefined): { readonly [name: string]: string } => {
  const isFree = (annotation(object, Names.HOST_KEY_ANNOTATION) ?? "").trim() === ""
  const jumpHostKeys = pins?.jumpHostKeys
  return {
    ...(pins?.hostKey === undefined || !isFree ? {} : { [Names.HOST_KEY_ANNOTATION]: pins.hostKey }),
    ...(jumpHostKeys === undefined || annotation(object, Names.JUMP_HOST_KEYS_ANNOTATION) === jumpHostKeys
      ? {}
      : { [Names.JUMP_HOST_KEYS_ANNOTATION]: jumpHostKeys })
  }
}

/** What of a Secret and an annotation or field a host is trusted by. `where` names the latter for people. */
const trust = (
  text: string,
  where: string,
  secret: { readonly name: string; readonly knownHosts: string | undefined }
): Result.Result<HostKeyTrust, Failure> => {
  const pins = parsePins(text)
  if (Result.isFailure(pins))
    return Result.fail(
      inputFailure(
        "HostKeyInvalid",
        `${where} has ${JSON.stringify(pins.failure.slice(0, 80))}, which is neither a fingerprint (SHA256:… as ssh-keygen -l prints it) nor a public key. Correct it, or remove it.`
      )
    )
  const { knownHosts } = secret
  const bad = knownHosts === undefined ? undefined : badLine(knownHosts)
  if (bad !== undefined)
    return Result.fail(
      inputFailure(
        "KnownHostsInvalid",
        `Key "${Names.SECRET_KNOWN_HOSTS_KEY}" of Secret ${secret.name}: line ${bad.line} can't be read: ${bad.why}. Correct it; no host is trusted by a file with errors.`
      )
    )
  return Result.succeed({ pins: pins.success, ...(knownHosts === undefined ? {} : { knownHosts }) })
}

export interface KeySecret {
  /** `namespace/name`. */
  readonly name: string
  readonly knownHosts: string | undefined
}

export const hostTrust = (object: KubeObject, secret: KeySecret): Result.Result<HostKeyTrust, Failure> =>
  trust(
    annotation(object, Names.HOST_KEY_ANNOTATION) ?? "",
    `Annotation ${Names.HOST_KEY_ANNOTATION} of ${keyOf(object)}`,
    secret
  )

const placeOf = (jump: JumpHost): string => knownName({ address: jump.address, port: jump.port ?? HOST_DEFAULTS.port })

/** `ADDRESS PIN` or `[ADDRESS]:PORT PIN`, one a line; what is no such line is another's, and kept. */
const jumpPins = (object: KubeObject): ReadonlyMap<string, string> =>
  new Map(
    (annotation(object, Names.JUMP_HOST_KEYS_ANNOTATION) ?? "").split("\n").flatMap((line) => {
      const [place, ...pin] = line.trim().split(/\s+/)
      return place === undefined || place === "" ? [] : [[place, pin.join(" ")]]
    })
  )

export const jumpHostTrust = (
  object: KubeObject,
  jump: JumpHost,
  secret: KeySecret
): Result.Result<HostKeyTrust, Failure> => {
  const given = jump.hostKey?.trim() ?? ""
  return given === ""
    ? trust(
        jumpPins(object).get(placeOf(jump)) ?? "",
        `Annotation ${Names.JUMP_HOST_KEYS_ANNOTATION} of ${keyOf(object)}`,
        secret
      )
    : trust(given, `Field hostKey of jump host ${jump.address} of ${keyOf(object)}`, secret)
}

/** Whether anything would be told to a host whose key nobody has vouched for. */
export const isUnpinned = ({ hostKeys, jumpHosts }: SshTarget): boolean =>
  isFirstUse(hostKeys) || (jumpHosts ?? []).some((jump) => isFirstUse(jump.hostKeys))

/** What is to be pinned of a host that was looked at; undefined when everything was known already. */
export const pinsOf = (
  object: KubeObject,
  target: SshTarget,
  report: Pick<HostReport, "hostKey" | "jumpHostKeys">
): Pins | undefined => {
  const jumps = new Map(jumpPins(object))
  let changed = false
  for (const [index, jump] of (target.jumpHosts ?? []).entries()) {
    const shown = report.jumpHostKeys?.[index]
    if (shown === undefined || !isFirstUse(jump.hostKeys)) continue
    jumps.set(knownName(jump), pinText(shown))
    changed = true
  }
  const isNew = isFirstUse(target.hostKeys)
  if (!isNew && !changed) return undefined
  return {
    ...(isNew ? { hostKey: pinText(report.hostKey) } : {}),
    ...(changed ? { jumpHostKeys: [...jumps].map(([place, pin]) => `${place} ${pin}`).join("\n") } : {})
  }
}
