/**
 * Owns counting tests: from vitest's JSON report and exit code to passed, failed, skipped, and the failed ones' names. Pure. Distrusts the report:
 * whatever ended badly without a failed test in it (a file that doesn't load, a rejection nobody handled, a crash, no
 * report at all) is one failure more.
 */
export const nothing = { passed: 0, failed: 0, skipped: 0 }

export const plus = (a, b) => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped
})

export const summary = (counts) => `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`

const ofFile = (file) => {
  const counts = { ...nothing }
  for (const test of file.assertionResults ?? []) {
    if (test.status === "passed") counts.passed++
    else if (test.status === "failed") counts.failed++
    else counts.skipped++
  }
  if (file.status === "failed" && counts.failed === 0) counts.failed++
  return counts
}

/** How much of a failure's message is said again at the end, in characters: enough to know it by. */
const REASON_LENGTH = 400

/** A line for each test that failed: its file, its name, and how its message begins. `base` is taken off the file's path. */
export const failures = (report, base = "") => {
  const lines = []
  const say = (file, name, message) => {
    const reason = String(message ?? "")
      .replace(/\s+/g, " ")
      .slice(0, REASON_LENGTH)
    const path = String(file.name ?? "a file").replace(`${base}/`, "")
    lines.push(`FAILED ${path}${name === undefined ? "" : ` > ${name}`}: ${reason}`)
  }
  try {
    const parsed = report === undefined ? {} : JSON.parse(report)
    for (const file of parsed.testResults ?? []) {
      const failed = (file.assertionResults ?? []).filter(({ status }) => status === "failed")
      for (const test of failed) say(file, test.fullName, test.failureMessages?.[0])
      if (failed.length === 0 && file.status === "failed") say(file, undefined, file.message)
    }
  } catch {
    lines.push("FAILED: vitest's report is not whole")
  }
  return lines
}

/** `report` is the text of vitest's JSON report, undefined when it wrote none. */
export const tally = (report, exitCode) => {
  let counts = nothing
  try {
    const parsed = report === undefined ? {} : JSON.parse(report)
    for (const file of parsed.testResults ?? []) counts = plus(counts, ofFile(file))
  } catch {
    return { ...nothing, failed: 1 }
  }
  return exitCode !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts
}
