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
import { nothing, plus, summary, tally } from "./tally.mjs"
import { prepare, root, run } from "./toolchain.mjs"

/** A suite that hangs must end before whoever runs CI loses patience (40 minutes in all). */
const LIMIT_MILLIS = { unit: 12 * 60_000, live: 18 * 60_000 }
/** Building kube-apiserver takes 3 to 8 minutes on 2 cores, once. */
const BUILD_LIMIT_MILLIS = 15 * 60_000
const PACKAGES_LIMIT_MILLIS = 5 * 60_000

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

const liveFiles = () => {
  const directory = join(root, "test", "live")
  return existsSync(directory)
    ? readdirSync(directory, { recursive: true }).filter((name) => String(name).endsWith(".test.ts")).length
    : 0
}

/** Why the live suites can't run here, in words that say what would change it. */
const whyNotLive = () => {
  if (process.env.MACHINIST_SKIP_LIVE === "1") return "MACHINIST_SKIP_LIVE=1"
  if (process.platform !== "linux") return `they need Linux (this is ${process.platform})`
  if (process.getuid?.() !== 0) return "they start sshd and mount namespaces, which needs root: sudo npm test"
  return undefined
}

/** Packages and kube-apiserver for the live suites. Returns what could not be had, as a reason, or undefined. */
const prepareLive = async (env) => {
  const packages = join(root, "scripts", "install-test-packages.sh")
  if (existsSync(packages)) {
    const { code } = await runOrStop("sh", [packages], { env, limitMillis: PACKAGES_LIMIT_MILLIS })
    if (code !== 0) return "scripts/install-test-packages.sh failed (its messages are above)"
  }
  const apiserver = join(root, "scripts", "build-kube-apiserver.sh")
  const hasGo = spawnSync("go", ["version"], { env }).status === 0
  if (existsSync(apiserver) && hasGo) {
    const { code } = await runOrStop("sh", [apiserver], {
      env,
      limitMillis: BUILD_LIMIT_MILLIS,
      stdio: ["ignore", 2, 2]
    })
    // The suites that need it say so and skip; those on real hosts can still run.
    if (code !== 0) say("kube-apiserver could not be built: what needs it is skipped")
  }
  return undefined
}

/** One vitest project; what it reports in its JSON file is the count, its exit code the check on that. */
const runProject = async (name, filters, { node, env }) => {
  const scratch = mkdtempSync(join(tmpdir(), "machinist-test-"))
  const report = join(scratch, "report.json")
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs")
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`]
  const empty = filters.length > 0 ? ["--passWithNoTests"] : []
  try {
    const args = [vitest, "run", "--project", name, "--root", root, ...reporters, ...empty, ...filters]
    const outcome = await runOrStop(node, args, { env, limitMillis: LIMIT_MILLIS[name] })
    if (outcome.timedOut) say(`${name}: ended after ${LIMIT_MILLIS[name] / 60_000} minutes`)
    const text = existsSync(report) ? readFileSync(report, "utf8") : undefined
    return tally(text, outcome.code)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

const live = async (filters, tools) => {
  const files = liveFiles()
  if (files === 0) return nothing
  const why = whyNotLive()
  if (why !== undefined) {
    say(`live: ${files} test files skipped: ${why}`)
    return { ...nothing, skipped: files }
  }
  const lacking = await prepareLive(tools.env)
  if (lacking === undefined) return runProject("live", filters, tools)
  say(`live: ${files} test files not run: ${lacking}`)
  // At a desk without a network that is a skip; CI promises to have run them.
  return process.env.CI === "true" ? { ...nothing, failed: 1 } : { ...nothing, skipped: files }
}

const main = async () => {
  const { projects, filters } = parse(process.argv.slice(2))
  const tools = prepare()
  let total = nothing
  if (projects.includes("unit")) total = plus(total, await runProject("unit", filters, tools))
  if (projects.includes("live")) total = plus(total, await live(filters, tools))
  return total
}

const total = await main().catch((error) => {
  say(error.message)
  return { ...nothing, failed: 1 }
})
console.log(summary(total))
process.exitCode = total.failed > 0 ? 1 : 0
