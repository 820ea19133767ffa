/**
 * Holds docs/errors.md to the code: every error class of the provider and every reason that a condition or an Event can
 * have stands in its tables, once, and nothing else does; the retry class is the one that the code has.
 */
import { assert, describe, it } from "@effect/vitest"
import { apiFailure } from "../src/actors/WorkloadAccess.ts"
import { HostError, HostErrorReason } from "../src/hosts/HostError.ts"
import { KubeError, KubeErrorReason } from "../src/kube/KubeError.ts"
import { SshError, SshPhase } from "../src/ssh/SshError.ts"
import { projectFiles, read } from "./tidy/Tree.ts"

/** What runs in a management cluster: simulation, demo and command line have errors of their own. */
const PROVIDER = /^src\/(actors|api|domain|hosts|kube|provider|runtime|ssh)\/.*\.ts$/
const sources = projectFiles().filter(({ path }) => PROVIDER.test(path))
const all = sources.map(({ text }) => text).join("\n")

const page = read("docs/errors.md").text

/** Rows of the table below a heading, cells trimmed. */
const rows = (heading: string): ReadonlyArray<ReadonlyArray<string>> => {
  const section = page.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? ""
  return section
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim())
    )
}
const names = (heading: string): ReadonlyArray<string> => rows(heading).map(([name = ""]) => name.replaceAll("`", ""))

const matches = (text: string, ...patterns: ReadonlyArray<RegExp>): ReadonlyArray<string> =>
  patterns.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] ?? ""))

const statusFiles = sources
  .filter(({ path }) => /Status\.ts$|PoolVerdicts\.ts$|RemoteCluster\.ts$/.test(path))
  .map(({ text }) => text)
  .join("\n")

/** `KubeError`'s reasons are compared all over the place; as the reason of a condition it is always another word. */
const KUBE_ONLY: ReadonlySet<string> = new Set(KubeErrorReason.literals)

const kubeError = (reason: (typeof KubeErrorReason.literals)[number]) =>
  new KubeError({ reason, verb: "get", kind: "Secret", message: "" })

/** What bootstrap configs say of the management cluster's own trouble: the reason is made of the error's. */
const apiFailures = KubeErrorReason.literals.map((reason) => apiFailure(kubeError(reason)))

/** What a Secret is read for: it may be missing, or have nothing under its key. */
const secretsRead = (text: string): ReadonlyArray<string> =>
  matches(text, /\b(?:readSecret|textOf)\([^)]*?\s"([A-Z]\w+)"/g, /^ {2}\w+: \["([A-Z]\w+)", "/gm)

const written = (text: string, status: string): ReadonlySet<string> =>
  new Set(
    [
      ...matches(
        text,
        /\breason: "([A-Z]\w+)"/g,
        /\b(?:inputFailure|refusal|refused|missing|waitingFor|isInvalid)\(\s*"([A-Z]\w+)"/g,
        /\bis(?:Not)?\("\w+", "([A-Z]\w+)"/g,
        /\b(?:unready|failedOr)\([^,\n]+, "([A-Z]\w+)"/g
      ),
      ...secretsRead(text).flatMap((what) => [`${what}NotFound`, `${what}Invalid`]),
      ...matches(text, /\breadFailure\("([^"]+)"/g).map((what) => `${what.replaceAll(" ", "")}NotFound`),
      ...matches(status, /\breason = [^\n]*"([A-Z]\w+)"/g, /\?\? "([A-Z]\w+)"/g, /\[\s*"([A-Z]\w+)", "/g),
      ...HostErrorReason.literals
    ].filter((reason) => !KUBE_ONLY.has(reason))
  )

describe("docs/errors.md", () => {
  it("has every error class, and no other", () => {
    const classes = matches(all, /class (\w+) extends (?:Schema|Data)\.TaggedError/g)
    assert.deepStrictEqual(names("Error classes").toSorted(), [...new Set(classes)].sort())
  })
  it("has every reason that the code writes", () => {
    const listed = new Set(names("Reasons"))
    const reasons = new Set([...written(all, statusFiles), ...apiFailures.map(({ reason }) => reason)])
    assert.deepStrictEqual([...reasons].filter((reason) => !listed.has(reason)).sort(), [])
  })
  it("has no reason that the code does not know, and none twice", () => {
    const known = new Set([...written(all, statusFiles), ...apiFailures.map(({ reason }) => reason)])
    const listed = names("Reasons")
    assert.deepStrictEqual(
      listed.filter(
        (reason) =>
          !known.has(reason) && !all.includes(`"${reason}"`) && !all.includes(`"${reason.replace("WaitingFor", "")}"`)
      ),
      []
    )
    assert.deepStrictEqual(
      listed.filter((reason, index) => listed.indexOf(reason) !== index),
      []
    )
  })
  it("says the retry class that the code has", () => {
    const table = new Map(rows("Reasons").map(([name = "", , , retry = ""]) => [name.replaceAll("`", ""), retry]))
    for (const reason of HostErrorReason.literals)
      assert.strictEqual(table.get(reason), new HostError({ reason, host: "", message: "" }).retry, reason)
    for (const { reason, retry } of apiFailures) assert.strictEqual(table.get(reason), retry, reason)
    const inPlace = [...all.matchAll(/\breason: "([A-Z]\w+)",\s+message:[^{}]*(?:\{[^{}]*\}[^{}]*)*?retry: "(\w+)"/g)]
    assert.isAbove(inPlace.length, 8)
    for (const [, reason = "", retry] of inPlace) assert.strictEqual(table.get(reason), retry, reason)
    for (const reason of matches(all, /\binputFailure\(\s*"([A-Z]\w+)"/g))
      assert.strictEqual(table.get(reason), "waitForChange", reason)
    const kube = rows("API server").map(([name = "", , retry = ""]) => [name.replaceAll("`", ""), retry])
    assert.deepStrictEqual(
      kube,
      KubeErrorReason.literals.map((reason) => [reason, kubeError(reason).retry])
    )
    const ssh = rows("SSH").map(([name = "", , retry = ""]) => [name.replaceAll("`", ""), retry])
    assert.deepStrictEqual(
      ssh,
      SshPhase.literals.map((phase) => [phase, new SshError({ phase, target: "", message: "" }).retry])
    )
  })
  it("says of each what to do", () => {
    for (const heading of ["Reasons", "Error classes", "API server", "SSH"])
      for (const row of rows(heading))
        assert.isTrue(row.length >= 3 && row.every((cell) => cell !== ""), `${heading}: ${row[0]}`)
  })
  it("a new class or reason would be found", () => {
    const fresh =
      'x = inputFailure(\n  "NewReason", "…"); y = { reason: "OtherReason" }; readFailure("Big Secret", e); ' +
      'readSecret(\n  there,\n  name,\n  "SmallKey",\n  "…"); failedOr(phase.failure, "Idling", "…")'
    for (const reason of ["NewReason", "OtherReason", "BigSecretNotFound", "SmallKeyInvalid", "Idling"])
      assert.isTrue(written(fresh, "").has(reason), reason)
  })
})
