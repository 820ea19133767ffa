/**
 * Owns the detached half of the in-memory driver: the process that writes files, runs the steps of a bootstrap or of a
 * cleaning, and records start and end of each durably. Does not own who may start it (Driver), nor what a step does
 * (StepRunner).
 */
import * as Effect from "effect/Effect"
import type { TenancyRecord, TenancyState } from "../../hosts/Protocol.ts"
import { SENTINEL, TENANCY_FILE } from "../../hosts/Protocol.ts"
import { DiskError } from "./Disk.ts"
import type { Journal, JournalRecord, Verdict } from "./Journal.ts"
import {
  encodeTenancy,
  faultPath,
  journalLine,
  journalPath,
  RUNS,
  readJournal,
  readTenancy,
  VOLATILE,
  writtenPath
} from "./Journal.ts"
import type { HostProcess, Kernel } from "./Kernel.ts"
import { leftovers, residue } from "./Leftovers.ts"
import { execute, type Hand, type HostParts, type JobRequest, KILLED, recorded, tellUnrecorded } from "./StepProcess.ts"

/** A step that is interrupted so often in a row, in one attempt, counts as failed. */
const MAX_INTERRUPTIONS = 5

type CleanRequest = Extract<JobRequest, { readonly verb: "clean" }>

export const writeTenancy = (
  kernel: Kernel,
  request: JobRequest | { readonly tenant: JobRequest["tenant"] },
  state: TenancyState
) => {
  const { claim, cluster, fence, machine } = request.tenant
  const record: TenancyRecord = { claim, machine, cluster, fence, bootId: kernel.bootId(), state }
  return kernel.durably("tenancy", kernel.disk.write(TENANCY_FILE, encodeTenancy(record), { mode: "0600" }))
}

/** The state changes, the tenant stays as recorded: a newer fence may have taken over meanwhile. */
const setState = (kernel: Kernel, claim: string, state: TenancyState): Effect.Effect<void, DiskError> =>
  Effect.suspend(() => {
    const record = readTenancy(kernel.disk)
    if (record === undefined || record.claim !== claim || record.state === state) return Effect.void
    // Whoever cleans by now is about to kill us.
    if (record.state === "cleaning" || record.state === "quarantined" || record.state === "free") return Effect.void
    return writeTenancy(kernel, { tenant: record }, state)
  })

export const append = (kernel: Kernel, path: string, record: JournalRecord, reserved = false) =>
  kernel.durably(`journal ${record.t}`, kernel.disk.append(path, journalLine(record), { mode: "0600", reserved }))

const prepare = Effect.fnUntraced(function* (
  kernel: Kernel,
  request: Extract<JobRequest, { readonly verb: "run" }>,
  path: string
): Effect.fn.Return<void, DiskError> {
  const { disk } = kernel
  for (const file of request.files) {
    const before = file.append === true ? disk.read(file.path) : undefined
    // Told apart by content: an append that was done before the driver died is not done again.
    const done = before !== undefined && endsWith(before, file.content)
    const content = before === undefined ? file.content : done ? before : joined(before, file.content)
    const existed = disk.entry(file.path)
    if (existed === undefined) yield* disk.append(writtenPath(request.tenant.claim), `${file.path}\n`)
    yield* kernel.durably(
      `file ${file.path}`,
      disk.write(file.path, content, {
        mode: file.mode,
        owner: file.owner ?? "root:root",
        via: existed?.via ?? "file",
        claim: request.tenant.claim
      })
    )
  }
  yield* kernel.durably(
    "sentinel removal",
    Effect.sync(() => {
      disk.remove(SENTINEL)
    })
  )
  yield* append(kernel, path, { t: "prepared" })
})

const joined = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}
const endsWith = (whole: Uint8Array, end: Uint8Array): boolean =>
  end.length > 0 && whole.length >= end.length && end.every((byte, i) => whole[whole.length - end.length + i] === byte)

/** The step's process is dead for sure before it is run again; false: it was interrupted too often. */
const settleInterrupted = Effect.fnUntraced(function* (
  kernel: Kernel,
  request: JobRequest,
  journal: Journal,
  index: number
): Effect.fn.Return<boolean, DiskError> {
  const { claim } = request.tenant
  const path = journalPath(claim, request.verb)
  yield* kernel.kill((process) => process.claim === claim && process.step === `${request.verb}.${index}`)
  yield* append(kernel, path, { t: "interrupted", step: index })
  if (journal.interruptions + 1 < MAX_INTERRUPTIONS) return true
  yield* append(kernel, path, { t: "end", step: index, code: KILLED, sentinel: false })
  return false
})

/** Runs what is not recorded yet; the verdict of a bootstrap, or undefined when a cleaning's steps are through. */
const runSteps = Effect.fnUntraced(function* (
  host: HostParts,
  driver: HostProcess,
  request: JobRequest,
  journal: Journal,
  hand: Hand
): Effect.fn.Return<Verdict | undefined, DiskError> {
  const { kernel } = host
  const path = journalPath(request.tenant.claim, request.verb)
  const failed = (step: number, code: number, stderr: ReadonlyArray<string> = []): Verdict | undefined =>
    code === 0 || request.verb === "clean" ? undefined : { t: "failed", step, code, stderr }
  let sentinel = journal.sentinelSeen
  for (const index of request.steps.keys()) {
    const fate = journal.fates.get(index)
    const again = fate?.how === "ended" && request.verb === "run" && fate.code !== 0 && fate.attempt < journal.attempt
    if (fate?.how === "ended" && !again) {
      // The driver died after the step's end and before the verdict.
      const verdict = failed(index, fate.code)
      if (verdict !== undefined) return verdict
      continue
    }
    if (fate?.how === "started" && !(yield* settleInterrupted(kernel, request, journal, index))) {
      const verdict = failed(index, KILLED)
      if (verdict !== undefined) return verdict
      continue
    }
    yield* kernel.disk.reserve
    yield* append(kernel, path, { t: "start", step: index })
    const { code, stderr } = yield* execute(host, driver, request, index, hand)
    sentinel ||= kernel.disk.exists(SENTINEL)
    yield* kernel.durably(
      "journal end",
      kernel.disk
        .append(path, journalLine({ t: "end", step: index, code, sentinel }), { reserved: true })
        .pipe(Effect.andThen(Effect.sync(() => recorded(hand))))
    )
    const verdict = failed(index, code, stderr)
    if (verdict !== undefined) return verdict
  }
  if (request.verb === "clean") return undefined
  return request.sentinel && !sentinel && !kernel.disk.exists(SENTINEL) ? { t: "no-sentinel" } : { t: "succeeded" }
})

/** Kills whatever any run started; the cleaning's own driver (`except`) and followers are left. */
export const sweep = (kernel: Kernel, except: number | undefined) =>
  kernel.kill(({ claim, pid, role }) => claim !== undefined && pid !== except && role !== "follower")

const removePaths = Effect.fnUntraced(function* (kernel: Kernel, request: CleanRequest): Effect.fn.Return<void> {
  const written = (kernel.disk.readText(writtenPath(request.tenant.claim)) ?? "").split("\n")
  yield* kernel.durably(
    "removal",
    Effect.sync(() => {
      for (const path of [...request.remove, ...written, SENTINEL]) if (path !== "") kernel.disk.remove(path)
    })
  )
})

const bury = (kernel: Kernel, request: CleanRequest): Effect.Effect<void, DiskError> =>
  kernel.durably(
    "tombstone",
    Effect.gen(function* () {
      const { claim } = request.tenant
      const record = readTenancy(kernel.disk)
      if (record?.claim !== claim || record.state !== "cleaning") {
        return yield* new DiskError({ detail: "the tenancy record was changed during the cleaning" })
      }
      yield* kernel.disk.write(TENANCY_FILE, encodeTenancy({ ...record, bootId: kernel.bootId(), state: "free" }))
      // Other bootstrap providers' leavings are not known to anyone.
      const left = request.verify.k0s ? residue(kernel, (one) => one !== "") : []
      yield* kernel.witness.tell(kernel.name, { _tag: "Wiped", claim, residue: left })
    })
  )

const driveClean = Effect.fnUntraced(function* (
  host: HostParts,
  driver: HostProcess,
  request: CleanRequest,
  journal: Journal,
  hand: Hand
): Effect.fn.Return<void, DiskError> {
  const { kernel } = host
  if (journal.dataHash !== "verify") {
    yield* sweep(kernel, driver.pid)
    yield* runSteps(host, driver, request, journal, hand)
    yield* removePaths(kernel, request)
    // What the clean-up steps themselves left running.
    yield* sweep(kernel, driver.pid)
  }
  const found = leftovers(kernel, request.verify.k0s, [...request.remove, ...request.verify.paths])
  if (found.length > 0) {
    return yield* append(kernel, journalPath(request.tenant.claim, "clean"), { t: "dirty", leftovers: found })
  }
  yield* bury(kernel, request)
  kernel.disk.remove(RUNS)
  kernel.disk.remove(VOLATILE)
})

const driveRun = Effect.fnUntraced(function* (
  host: HostParts,
  driver: HostProcess,
  request: Extract<JobRequest, { readonly verb: "run" }>,
  journal: Journal,
  hand: Hand
): Effect.fn.Return<void, DiskError> {
  const { kernel } = host
  const path = journalPath(request.tenant.claim, "run")
  if (!journal.prepared) yield* prepare(kernel, request, path)
  const verdict = yield* runSteps(host, driver, request, journal, hand)
  if (verdict === undefined) return
  // The record first: whoever is told the verdict finds the state that belongs to it.
  yield* setState(kernel, request.tenant.claim, verdict.t === "succeeded" ? "ready" : "failed")
  yield* append(kernel, path, verdict, true)
})

/** The whole life of the detached process. */
export const startRunner = (host: HostParts, request: JobRequest): Effect.Effect<HostProcess> => {
  const { kernel } = host
  const { claim } = request.tenant
  const path = journalPath(claim, request.verb)
  const hand: Hand = { unrecorded: undefined }
  const life = Effect.fnUntraced(function* (driver: HostProcess): Effect.fn.Return<void, DiskError> {
    const journal = readJournal(kernel.disk, path)
    if (journal === undefined) return yield* new DiskError({ detail: `${path}: No such file or directory` })
    return yield* request.verb === "run"
      ? driveRun(host, driver, request, journal, hand)
      : driveClean(host, driver, request, journal, hand)
  })
  return kernel.spawn(
    { comm: "sh", role: "runner", claim },
    (driver) =>
      life(driver).pipe(
        // Nothing can be recorded on a disk that is full: /run takes the reason, for whoever follows.
        Effect.catchTag("DiskError", (error) =>
          Effect.orDie(kernel.disk.write(faultPath(claim, request.verb), error.detail))
        )
      ),
    (_, at) => tellUnrecorded(kernel, hand, at)
  )
}
