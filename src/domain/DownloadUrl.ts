/**
 * Owns where the k0s binary comes from: `preInstalledK0s`, `downloadURL`, or the default. The commands that fetch it
 * are in BootstrapScript.ts.
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/** The URL is not in the message: it may carry credentials. */
export class InvalidDownloadUrl extends Schema.TaggedError<InvalidDownloadUrl>()("InvalidDownloadUrl", {
  message: Schema.String
}) {
  readonly retry = "waitForChange" as const
}

export type DownloadSource = Data.TaggedEnum<{
  /** k0s is on the host already. */
  PreInstalled: {}
  /** The installer script, which knows versions; `undefined` is the latest. */
  Installer: { readonly version: string | undefined }
  /** The binary itself; the version is ignored. `secret`: the URL carries user info or a query (a signature). */
  Http: { readonly url: string; readonly secret: boolean }
  /** A blob in an OCI registry, `registry/repository@digest`, as oras takes it. */
  Oci: { readonly reference: string }
}>
export const DownloadSource = Data.taggedEnum<DownloadSource>()

export const INSTALLER_URL = "https://get.k0s.sh"

const SCHEME = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//
/** Printable ASCII without the blank: what a URL may hold unescaped, and more; rules out newlines and look-alikes. */
const PRINTABLE = /^[\x21-\x7e]+$/
const OCI_REFERENCE =
  /^[A-Za-z0-9.-]+(:\d+)?(\/[A-Za-z0-9._-]+)+(@[A-Za-z0-9]+:[0-9A-Fa-f]+|:[A-Za-z0-9_][A-Za-z0-9._-]*)$/

const invalid = (message: string): Result.Result<never, InvalidDownloadUrl> =>
  Result.fail(new InvalidDownloadUrl({ message: `spec.downloadURL ${message}` }))

export const parseDownloadUrl = (text: string): Result.Result<DownloadSource, InvalidDownloadUrl> => {
  if (!PRINTABLE.test(text)) return invalid("holds blanks or other characters that a URL can't have: escape them")
  const scheme = SCHEME.exec(text)?.[1]?.toLowerCase()
  switch (scheme) {
    case "http":
    case "https": {
      if (!URL.canParse(text)) return invalid("is not a URL")
      const url = new URL(text)
      return Result.succeed(
        DownloadSource.Http({ url: text, secret: url.username !== "" || url.password !== "" || url.search !== "" })
      )
    }
    case "oci": {
      const reference = text.slice("oci://".length)
      return OCI_REFERENCE.test(reference)
        ? Result.succeed(DownloadSource.Oci({ reference }))
        : invalid("must look like oci://registry/repository@sha256:digest")
    }
    case undefined:
      return invalid("has no scheme: http, https and oci are possible")
    default:
      return invalid(`has a scheme (${scheme.slice(0, 20)}) other than http, https and oci`)
  }
}

export const downloadSource = (input: {
  readonly preInstalledK0s?: boolean | undefined
  readonly downloadURL?: string | undefined
  readonly version?: string | undefined
}): Result.Result<DownloadSource, InvalidDownloadUrl> => {
  if (input.preInstalledK0s === true) return Result.succeed(DownloadSource.PreInstalled())
  if (input.downloadURL !== undefined && input.downloadURL !== "") return parseDownloadUrl(input.downloadURL)
  return Result.succeed(DownloadSource.Installer({ version: input.version }))
}
