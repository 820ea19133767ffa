/**
 * Owns the little of MIME that bootstrap data needs: writing `multipart/mixed` as cloud-init reads it, with bytes that
 * depend on the parts alone, and reading it back. Knows nothing of what is in the parts.
 */
import { createHash } from "node:crypto"
import * as Result from "effect/Result"
import { decodeBase64, gunzip, isGzip } from "./Gzip.ts"

export interface Part {
  readonly type: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Characters in a line of base64 (RFC 2045). */
const BASE64_LINE_LENGTH = 76

const SEVEN_BIT = /^[\n\t\x20-\x7e]*$/

const encodeBody = (body: string): readonly [string, string] =>
  SEVEN_BIT.test(body)
    ? ["7bit", body]
    : [
        "base64",
        (
          Buffer.from(body, "utf8")
            .toString("base64")
            .match(new RegExp(`.{1,${BASE64_LINE_LENGTH}}`, "g")) ?? []
        ).join("\n")
      ]

/** From the content: equal data has equal bytes, and no content can hold the hash of itself. */
const boundaryOf = (parts: ReadonlyArray<Part>): string =>
  `machinist-${createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32)}`

export const multipart = (parts: ReadonlyArray<Part>): string => {
  const boundary = boundaryOf(parts)
  const written = parts.map((part) => {
    const [encoding, body] = encodeBody(part.body)
    return [
      `--${boundary}`,
      `Content-Type: ${part.type}; charset="utf-8"`,
      "MIME-Version: 1.0",
      `Content-Transfer-Encoding: ${encoding}`,
      ...Object.entries(part.headers).map(([name, value]) => `${name}: ${value}`),
      "",
      body
    ].join("\n")
  })
  return [
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    "MIME-Version: 1.0",
    "",
    ...written,
    `--${boundary}--`,
    ""
  ].join("\n")
}

export const isMultipart = (text: string): boolean => /^\s*(content-type|mime-version)\s*:/i.test(text)

const splitHead = (text: string): readonly [Readonly<Record<string, string>>, string] => {
  const end = /\r?\n\r?\n/.exec(text)
  const head = end === null ? text : text.slice(0, end.index)
  const headers = head
    // A continued header line starts with a blank.
    .replace(/\r?\n[ \t]+/g, " ")
    .split(/\r?\n/)
    .flatMap((line) => {
      const colon = line.indexOf(":")
      return colon === -1 ? [] : [[line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()] as const]
    })
  return [Object.fromEntries(headers), end === null ? "" : text.slice(end.index + end[0].length)]
}

const parameter = (header: string, name: string): string | undefined => {
  const found = new RegExp(`;\\s*${name}\\s*=\\s*(?:"([^"]*)"|([^\\s;]+))`, "i").exec(header)
  return found?.[1] ?? found?.[2]
}

export type MultipartError = "not multipart" | "bad transfer encoding" | "bad gzip" | "nested too deeply"

const fromQuotedPrintable = (text: string): Uint8Array =>
  Buffer.from(
    text
      // A soft line end, and blanks that transport may have added.
      .replace(/[ \t]+(?=\r?\n)/g, "")
      .replace(/=\r?\n/g, "")
      .replace(/[\u0080-\u{10ffff}]+/gu, (found) => Buffer.from(found, "utf8").toString("latin1"))
      .replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1"
  )

const decodeBody = (encoding: string, raw: string): Result.Result<Uint8Array, MultipartError> => {
  switch (encoding) {
    case "7bit":
    case "8bit":
    case "binary":
      return Result.succeed(Buffer.from(raw, "utf8"))
    case "quoted-printable":
      return Result.succeed(fromQuotedPrintable(raw))
    case "base64":
      return Result.mapError(decodeBase64(raw), () => "bad transfer encoding" as const)
    default:
      return Result.fail("bad transfer encoding")
  }
}

/** Multiparts in multiparts: more is nobody's bootstrap data. */
const MAX_DEPTH = 8

const decodePart = (text: string, depth: number): Result.Result<ReadonlyArray<Part>, MultipartError> => {
  const [headers, raw] = splitHead(text)
  const type = (headers["content-type"] ?? "text/plain").split(";")[0]?.trim().toLowerCase() ?? "text/plain"
  if (type.startsWith("multipart/")) return split(text, depth + 1)
  return Result.flatMap(
    decodeBody((headers["content-transfer-encoding"] ?? "7bit").trim().toLowerCase(), raw),
    (bytes): Result.Result<ReadonlyArray<Part>, MultipartError> => {
      // Whatever its type says: cloud-init's tools send each part zipped.
      const zipped = isGzip(bytes)
      const plain = zipped ? Result.mapError(gunzip(bytes), () => "bad gzip" as const) : Result.succeed(bytes)
      return Result.map(plain, (body) => [
        { type: zipped ? "text/plain" : type, headers, body: Buffer.from(body).toString("utf8") }
      ])
    }
  )
}

const split = (text: string, depth: number): Result.Result<ReadonlyArray<Part>, MultipartError> => {
  if (depth > MAX_DEPTH) return Result.fail("nested too deeply")
  const [headers, body] = splitHead(text)
  const type = headers["content-type"] ?? ""
  const boundary = parameter(type, "boundary")
  if (!/^multipart\//i.test(type) || boundary === undefined) return Result.fail("not multipart")
  const escaped = boundary.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  const pieces = `\n${body}`.split(new RegExp(`\\r?\\n--${escaped}(--)?[ \\t]*(?=\\r?\\n|$)`))
  // Every second piece is the group of the separator: `--` at the closing one.
  const parts: Array<string> = []
  for (let at = 1; at + 1 < pieces.length && pieces[at] !== "--"; at += 2) {
    parts.push((pieces[at + 1] ?? "").replace(/^\r?\n/, ""))
  }
  return Result.map(Result.all(parts.map((part) => decodePart(part, depth))), (lists) => lists.flat())
}

/** Header names of the parts are lower case; what is nested is flat. */
export const parseMultipart = (text: string): Result.Result<ReadonlyArray<Part>, MultipartError> =>
  split(text.trimStart(), 1)

/** The file name in a part's headers. */
export const fileNameOf = (part: Part): string | undefined =>
  parameter(part.headers["content-disposition"] ?? "", "filename") ??
  parameter(part.headers["content-type"] ?? "", "name")
