/**
 * Owns which SSH algorithms are used: those of this decade's OpenSSH, dropbear and libssh, no SHA-1 and no CBC. A host
 * that has only older ones is refused, and told so (SshFailure.ts). Pure.
 */
import type ssh2 from "ssh2"

/**
 * In this order, always, so that a host with several keys shows the same one each time; a host that is known by a key
 * of another type is asked for that one first.
 */
const HOST_KEYS: ReadonlyArray<ssh2.ServerHostKeyAlgorithm> = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256"
]

/** An RSA key signs in several ways; all other types are named as their one algorithm is. */
const typeOf = (algorithm: string): string => (algorithm.startsWith("rsa-sha2-") ? "ssh-rsa" : algorithm)

/** `knownTypes`: of the keys that the host is known by. */
export const algorithms = (knownTypes: ReadonlyArray<string>): ssh2.Algorithms => ({
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512"
  ],
  serverHostKey: [
    ...HOST_KEYS.filter((algorithm) => knownTypes.includes(typeOf(algorithm))),
    ...HOST_KEYS.filter((algorithm) => !knownTypes.includes(typeOf(algorithm)))
  ],
  cipher: ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"]
})

/** What to turn on, by the words that ssh2 ends "no matching …" with. */
const REMEDIES: ReadonlyArray<readonly [RegExp, string]> = [
  [/key exchange/, "key exchange by curve25519-sha256 or ecdh-sha2-nistp256 (KexAlgorithms)"],
  [/host key/, "an ed25519, ECDSA or RSA host key with SHA-2 signatures (HostKeyAlgorithms)"],
  [/cipher/, "aes128-gcm@openssh.com or aes128-ctr (Ciphers)"],
  [/MAC/, "hmac-sha2-256-etm@openssh.com or hmac-sha2-256 (MACs)"]
]

/** What a host lacks whose offer had nothing in common with ours. */
export const lacking = (message: string): string =>
  REMEDIES.find(([words]) => words.test(message))?.[1] ?? "algorithms that OpenSSH 8 and later have by default"
