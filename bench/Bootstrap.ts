/** Owns the bootstrap data that scenarios provision with: some waiting steps, then the sentinel. Pure. */
import { SENTINEL } from "../src/hosts/Protocol.ts"

const SENTINEL_DIRECTORY = SENTINEL.slice(0, SENTINEL.lastIndexOf("/"))

/** Shell commands that take `seconds` in all. */
export const bootstrapCommands = (steps: number, seconds: number): ReadonlyArray<string> => [
  ...Array.from({ length: steps }, () => `sleep ${seconds / steps}`),
  `mkdir -p ${SENTINEL_DIRECTORY} && touch ${SENTINEL}`
]

export const cloudConfig = (commands: ReadonlyArray<string>): string =>
  ["#cloud-config", "runcmd:", ...commands.map((command) => `  - ${JSON.stringify(command)}`), ""].join("\n")
