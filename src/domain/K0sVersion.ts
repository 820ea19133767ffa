/**
 * Owns the k0s version: normalising what users and owner Machines write, and refusing what can't be a version.
 * Does not know which versions exist.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

export class InvalidVersion extends Schema.TaggedError<InvalidVersion>()("InvalidVersion", {
  message: Schema.String
}) {
  readonly retry = "waitForChange" as const
}

/** What get.k0s.sh and git tags can hold; keeps a version out of trouble in URLs and file names. */
const PLAUSIBLE = /^[0-9A-Za-z][0-9A-Za-z.+_-]{0,127}$/

/**
 * For admission (create and update): `-k0s.` in `spec.version` is a mistake (Kubernetes versions of Machines can't hold
 * `+` in some tools, configs can), and is rejected with the spelling that works.
 */
export const validateSpecVersion = (version: string): Result.Result<string, InvalidVersion> => {
  if (version === "") return Result.succeed(version)
  if (version.includes("-k0s.")) {
    return Result.fail(
      new InvalidVersion({ message: `spec.version has "-k0s.": write ${version.replace("-k0s.", "+k0s.")}` })
    )
  }
  if (!PLAUSIBLE.test(version)) {
    return Result.fail(
      new InvalidVersion({ message: "spec.version is not a k0s version: write it like v1.27.2+k0s.0" })
    )
  }
  return Result.succeed(version)
}

/**
 * The version to install: the config's own, else its owner Machine's; the first `-k0s.` becomes `+k0s.`, and a plain
 * Kubernetes version gets `+k0s.0`. `undefined` means the latest.
 */
export const k0sVersion = (
  spec: string | undefined,
  owner: string | undefined
): Result.Result<string | undefined, InvalidVersion> => {
  const raw = spec !== undefined && spec !== "" ? spec : (owner ?? "")
  if (raw === "") return Result.succeed(undefined)
  const plus = raw.replace("-k0s.", "+k0s.")
  const full = plus.includes("+k0s.") ? plus : `${plus}+k0s.0`
  return PLAUSIBLE.test(full)
    ? Result.succeed(full)
    : Result.fail(
        new InvalidVersion({
          message: `the version of ${raw === spec ? "the config" : "its owner Machine"} is not a k0s version: write it like v1.27.2+k0s.0`
        })
      )
}
