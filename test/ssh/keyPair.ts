/**
 * Owns key pairs for tests. ssh2's generator drops a leading zero byte of ed25519 keys: one in about 200 is malformed, for
 * OpenSSH too (its parser is right: keys of ssh-keygen all pass). Those are thrown away here.
 */
import ssh2 from "ssh2"

export interface KeyPair {
  readonly private: string
  /** One line, as in authorized_keys. */
  readonly public: string
  /** SSH wire format. */
  readonly publicBytes: Uint8Array
}

export const makeKeyPair = (): KeyPair => {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync("ed25519")
    const parsed = ssh2.utils.parseKey(pair.private)
    if (!(parsed instanceof Error)) {
      return { private: pair.private, public: pair.public, publicBytes: parsed.getPublicSSH() }
    }
  }
}
