/**
 * Owns the bootstrap data of seeded machines that bring their own: k0s' steps with a canary for a token, and the hash by
 * which a host knows whose data it ran. Pure.
 */
import { createHash } from "node:crypto"
import { TOKEN_FILE } from "./Plan.ts"

/** In every secret of a seeded run: it must be nowhere else. */
export const SECRET = "canary"
export const canaryOf = (owner: string): string => `${SECRET}-token-of-${owner}-0123456789abcdef`

/**
 * A worker's bootstrap as our own data has it: a token file that nobody else may read, k0s, the sentinel. Forced, for a step
 * whose end power loss took may run again, and only a person could mend one that can't.
 */
export const bootstrapData = (machine: string): string => `#cloud-config
write_files:
  - path: ${TOKEN_FILE}
    permissions: "0600"
    content: ${canaryOf(machine)}
runcmd:
  - echo ${machine}
  - |
    # step: install k0s
    /usr/local/bin/k0s install worker --force --token-file ${TOKEN_FILE}
  - |
    # step: start k0s
    /usr/local/bin/k0s start
  - mkdir -p /run/cluster-api && touch /run/cluster-api/bootstrap-success.complete
`

export const dataHash = (machine: string): string =>
  createHash("sha256").update("cloud-config").update("\0").update(bootstrapData(machine)).digest("hex")
