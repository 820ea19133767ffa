/**
 * Owns fingerprints of SSH public keys, as `ssh-keygen -l` prints them. Pure. Does not own reading keys.
 */
import { createHash } from "node:crypto"

/** `SHA256:…`, unpadded base64, of a public key in SSH wire format. */
export const fingerprint = (publicKey: Uint8Array): string =>
  `SHA256:${createHash("sha256").update(publicKey).digest("base64").replace(/=+$/, "")}`
