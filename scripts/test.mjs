/**
 * Owns `npm test`: from a bare clone to a verdict. Installs what is missing, runs the unit suites, then the live ones where
 * they can run, and ends with one line `N passed, N failed, N skipped`; the exit code is not 0 when something failed.
 *
 *   node scripts/test.mjs [--only unit|live] [FILTER…]
 *
 * FILTER is a part of a path, handed to vitest. MACHINIST_SKIP_LIVE=1 leaves the live suites out; MACHINIST_SEEDS=N sets
 * how many seeds the simulation suites explore (they read it themselves).
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { failures, nothing, plus, summary, tally } from "./tally.mjs"
import { prepare, root, run } from "./toolchain.mjs"

/** Whoever runs CI loses patience at 40 minutes; types, lint and drift come after us. */
const TOTAL_LIMIT_MILLIS = 38 * 60_000
/** Each part's own limit, so that one that hangs leaves time for the next. A build takes 2 to 8 minutes, once. */
const LIMIT_MILLIS = { packages: 5 * 60_000, unit: 20 * 60_000, build: 15 * 60_000, live: 25 * 60_000 }
const deadline = Date.now() + TOTAL_LIMIT_MILLIS
const limitFor = (part) => Math.max(1000, Math.min(LIMIT_MILLIS[part], deadline - Date.now()))

/** Someone pressed ^C or sent SIGTERM: nothing more is started, and the verdict is a failure. */
const runOrStop = async (...all) => {
  const outcome = await run(...all)
  if (outcome.interrupted) throw new Error("interrupted")
  return outcome
}

const say = (line) => console.error(`machinist: ${line}`)

const usage = "usage: node scripts/test.mjs [--only unit|live] [FILTER…]"
const parse = (args) => {
  const [first, second, ...rest] = args
  if (first !== "--only") {
    if (first?.startsWith("-")) throw new Error(`unknown option ${first}\n${usage}`)
    return { projects: ["unit", "live"], filters: args }
  }
  if (second !== "unit" && second !== "live") throw new Error(usage)
  return { projects: [second], filters: rest }
}

/** The live test files that the filters leave: vitest matches a part of the path too. */
const liveFiles = (filters) => {
  const directory = join(root, "test", "live")
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true })
    .map((name) => join("test", "live", String(name)))
    .filter((path) => path.endsWith(".test.ts"))
    .filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)))
}

/** Why the live suites can't run here, in words that say what would change it. */
const whyNotLive = () => {
  if (process.env.MACHINIST_SKIP_LIVE === "1") return "MACHINIST_SKIP_LIVE=1"
  if (process.platform !== "linux") return `they need Linux (this is ${process.platform})`
  if (process.getuid?.() !== 0) return "they start sshd and mount namespaces, which needs root: sudo npm test"
  return undefined
}

/** Debian packages; some unit suites use one or the other too (other shells). Returns why they could not be had, if so. */
const installPackages = async (env) => {
  const script = join(root, "scripts", "install-test-packages.sh")
  if (!existsSync(script)) return undefined
  const { code } = await runOrStop("sh", [script], { env, limitMillis: limitFor("packages") })
  return code === 0 ? undefined : "scripts/install-test-packages.sh failed (its messages are above)"
}

/** Programs that live suites need, and which files need them; each takes minutes, once. */
const BUILT = [
  { what: "kube-apiserver", script: "build-kube-apiserver.sh", needed: () => true },
  { what: "Cluster API", script: "build-capi.sh", needed: (path) => path.includes(join("live", "capi")) }
]

/** What needs one of them skips itself without it; the suites on real hosts can still run. */
const build = async (env, files) => {
  for (const { what, script, needed } of BUILT) {
    const path = join(root, "scripts", script)
    if (!files.some(needed) || spawnSync("sh", [path, "--check"], { env, stdio: "ignore" }).status === 0) continue
    if (spawnSync("go", ["version"], { env }).status !== 0) {
      say(`no Go on PATH to build ${what} with`)
      continue
    }
    const { code } = await runOrStop("sh", [path], { env, limitMillis: limitFor("build"), stdio: ["ignore", 2, 2] })
    if (code !== 0) say(`${what} could not be built (messages above): what needs it is skipped`)
  }
}

/** What failed, said again before the verdict: whoever reads only the end of a long log knows what to look for. */
const failed = []

/** One vitest project; what it reports in its JSON file is the count, its exit code the check on that. */
const runProject = async (name, filters, { node, env }) => {
  const scratch = mkdtempSync(join(tmpdir(), "machinist-test-"))
  const report = join(scratch, "report.json")
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs")
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`]
  const empty = filters.length > 0 ? ["--passWithNoTests"] : []
  try {
    const args = [vitest, "run", "--project", name, "--root", root, ...reporters, ...empty, ...filters]
    const limitMillis = limitFor(name)
    const outcome = await runOrStop(node, args, { env, limitMillis })
    if (outcome.timedOut) say(`${name}: ended after ${Math.round(limitMillis / 60_000)} minutes, its limit`)
    const text = existsSync(report) ? readFileSync(report, "utf8") : undefined
    const counts = tally(text, outcome.code)
    const named = failures(text, root)
    failed.push(...named)
    if (counts.failed > 0 && named.length === 0)
      failed.push(`FAILED ${name}: no test, but vitest ended with ${outcome.code}`)
    return counts
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** What the live suites count when they are not run: their files, as skipped. */
const skipLive = (files, why) => {
  say(`live: ${files} test files skipped: ${why}`)
  return { ...nothing, skipped: files }
}

const main = async () => {
  const { projects, filters } = parse(process.argv.slice(2))
  const tools = prepare()
  const files = projects.includes("live") ? liveFiles(filters) : []
  const why = whyNotLive()
  const lacking = files.length > 0 && why === undefined ? await installPackages(tools.env) : undefined
  let total = nothing
  if (projects.includes("unit")) total = plus(total, await runProject("unit", filters, tools))
  if (files.length === 0) return total
  if (why !== undefined) return plus(total, skipLive(files.length, why))
  if (lacking !== undefined) {
    // At a desk without a network that is a skip; CI promises to have run them.
    const skipped = skipLive(files.length, lacking)
    return plus(total, process.env.CI === "true" ? { ...skipped, failed: 1 } : skipped)
  }
  await build(tools.env, files)
  return plus(total, await runProject("live", filters, tools))
}

const total = await main().catch((error) => {
  say(error.message)
  return { ...nothing, failed: 1 }
})
for (const line of failed) console.log(line)
console.log(summary(total))
process.exitCode = total.failed > 0 ? 1 : 0
