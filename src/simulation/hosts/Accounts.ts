/**
 * Owns who may log in to a simulated host, and who may become root there. Does not own connections.
 *
 * A key is a real one (OpenSSH or PEM, checked against authorized keys as sshd would), or, where thousands of hosts
 * need no cryptography, the text `simulated:NAME`, which is its own public half.
 */
import ssh2 from "ssh2"

export interface Account {
  /** Public keys: `simulated:NAME`, or OpenSSH lines (`ssh-ed25519 AAAA… comment`). */
  readonly authorizedKeys: ReadonlyArray<string>
  /** `sudo -n`: allowed, or what it says instead. */
  readonly sudo: { readonly allowed: true } | { readonly allowed: false; readonly refusal: string }
  /** 0 for root. */
  readonly uid: number
}

export const root = (...authorizedKeys: ReadonlyArray<string>): Account => ({
  authorizedKeys,
  sudo: { allowed: true },
  uid: 0
})
export const sudoer = (...authorizedKeys: ReadonlyArray<string>): Account => ({ ...root(...authorizedKeys), uid: 1000 })
export const withoutSudo = (...authorizedKeys: ReadonlyArray<string>): Account => ({
  authorizedKeys,
  sudo: { allowed: false, refusal: "sudo: a password is required" },
  uid: 1001
})

export const SIMULATED_KEY = "simulated:machinist"
const PREFIX = "simulated:"

export type KeyCheck = "accepted" | "refused" | { readonly invalid: string }

/** Parsed keys, by text: parsing is the slow part, and a simulation uses few. */
const publicHalves = new Map<string, string | { readonly invalid: string }>()
const PUBLIC_HALVES_KEPT = 1000

const publicHalf = (privateKey: string, passphrase: string | undefined): string | { readonly invalid: string } => {
  const text = privateKey.trim()
  if (text.startsWith(PREFIX)) return text
  const cacheKey = `${passphrase ?? ""}\u0000${text}`
  const known = publicHalves.get(cacheKey)
  if (known !== undefined) return known
  const parsed = ssh2.utils.parseKey(text, passphrase)
  const half = parsed instanceof Error ? { invalid: parsed.message } : parsed.getPublicSSH().toString("base64")
  if (publicHalves.size > PUBLIC_HALVES_KEPT) publicHalves.clear()
  publicHalves.set(cacheKey, half)
  return half
}

export const checkKey = (
  account: Account | undefined,
  privateKey: string,
  passphrase: string | undefined
): KeyCheck => {
  const half = publicHalf(privateKey, passphrase)
  if (typeof half !== "string") return half
  const known = account?.authorizedKeys.some((line) => line.trim() === half || line.split(/\s+/)[1] === half) ?? false
  return known ? "accepted" : "refused"
}
