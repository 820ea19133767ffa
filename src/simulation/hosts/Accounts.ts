/**
 * Owns who may log in to a simulated host, and who may become root there. Does not own connections.
 *
 * A key is a real one (OpenSSH or PEM, checked against authorized keys as sshd would), or, where thousands of hosts
 * need no cryptography, the text `simulated:NAME`, which is its own public half.
 */

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

export const isSimulatedKey = (privateKey: string): boolean => privateKey.trim().startsWith(PREFIX)

/** `publicHalf`: of a real key its SSH wire format in base64; of a simulated one the text itself. */
export const isAuthorized = (account: Account | undefined, publicHalf: string): boolean =>
  account?.authorizedKeys.some((line) => line.trim() === publicHalf || line.split(/\s+/)[1] === publicHalf) ?? false
