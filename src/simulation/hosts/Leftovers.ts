/**
 * Owns what counts as left behind on a simulated host: what the driver's verification finds (as the shell driver
 * would), and what the witness knows beyond that. Does not own removing it.
 */
import { SENTINEL } from "../../hosts/Protocol.ts"
import { K0S_DATA, SERVICES } from "./K0s.ts"
import type { Kernel } from "./Kernel.ts"

/** What is still there of k0s, of the given paths, and of processes that any run started; in the driver's words. */
export const leftovers = (kernel: Kernel, k0s: boolean, paths: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...(k0s
    ? [
        ...kernel
          .processes()
          .filter((process) => process.comm === "k0s")
          .map((process) => `process ${process.pid} (k0s) of k0s`),
        ...SERVICES.filter((path) => kernel.disk.exists(path)).map((path) => `service ${path}`),
        ...(kernel.disk.exists(K0S_DATA) ? [K0S_DATA] : [])
      ]
    : []),
  ...[...new Set([...paths, SENTINEL])].filter((path) => kernel.disk.exists(path)),
  ...kernel
    .processes()
    .filter((process) => process.claim !== undefined && (process.role === "daemon" || process.role === "step"))
    .filter((process) => !(k0s && process.comm === "k0s"))
    .map((process) => `process ${process.pid} (${process.comm}) of a bootstrap step`)
]

/** The witness's own view of what a tenant left: knows who wrote each file, which no driver does. */
export const residue = (kernel: Kernel, mine: (claim: string) => boolean): ReadonlyArray<string> => {
  const found = leftovers(kernel, true, []).filter(
    (what) => what !== SENTINEL || mine(kernel.disk.entry(SENTINEL)?.claim ?? "")
  )
  const files = kernel.disk
    .list("/")
    .filter((path) => kernel.disk.entry(path)?.via === "file" && mine(kernel.disk.entry(path)?.claim ?? ""))
  const processes = kernel
    .processes()
    .filter(({ claim, role }) => claim !== undefined && mine(claim) && (role === "step" || role === "daemon"))
    .map(({ comm, pid }) => `process ${pid} ${comm}`)
  return [...new Set([...found, ...files, ...processes])]
}
