/** Owns the bootstrap data that scenarios provision with: some waiting steps, then the sentinel. Pure. */
import { SENTINEL } from "../src/hosts/Protocol.ts"

const SENTINEL_DIRECTORY = SENTINEL.slice(0, SENTINEL.lastIndexOf("/"))

/** Shell commands that take `seconds` in all. */
export const bootstrapCommands = (steps: number, seconds: number): ReadonlyArray<string> => [
  ...Array.from({ length: steps }, () => `sleep ${seconds / steps}`),
  `mkdir -p ${SENTINEL_DIRECTORY} && touch ${SENTINEL}`
]

/**
 * The same commands with nothing around them: one after the other until one fails, each in a shell of its own, as it is a
 * step of its own for us (and a command of its own for k0smotron).
 */
export const bareScript = (commands: ReadonlyArray<string>): string =>
  ["set -e", ...commands.map((command) => `sh -c '${command.replaceAll("'", `'\\''`)}'`), ""].join("\n")

export const cloudConfig = (commands: ReadonlyArray<string>): string =>
  ["#cloud-config", "runcmd:", ...commands.map((command) => `  - ${JSON.stringify(command)}`), ""].join("\n")
