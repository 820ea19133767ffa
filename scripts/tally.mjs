/**
 * Owns counting tests: from vitest's JSON report and exit code to passed, failed, skipped. Pure. Distrusts the report:
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
