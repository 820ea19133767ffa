/**
 * Owns the detached half of the in-memory driver: the process that writes files, runs the steps of a bootstrap or of a
 * cleaning, and records start and end of each durably. Does not own who may start it (Driver), nor what a step does
 * (StepRunner).
 */
import * as Effect from "effect/Effect"
import type { TenancyRecord, TenancyState } from "../../hosts/Protocol.ts"
import { SENTINEL, STATE_DIR, TENANCY_FILE } from "../../hosts/Protocol.ts"
import { DiskError } from "./Disk.ts"
import type { Journal, JournalRecord, Verdict } from "./Journal.ts"
import { encodeTenancy, faultPath, journalLine, journalPath, readJournal, readTenancy } from "./Journal.ts"
import type { HostProcess, Kernel } from "./Kernel.ts"
import { leftovers, residue } from "./Leftovers.ts"
import { execute, type Hand, type HostParts, type JobRequest, recorded, tellUnrecorded } from "./StepProcess.ts"

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
    return record === undefined || record.claim !== claim || record.state === state
      ? Effect.void
      : writeTenancy(kernel, { tenant: record }, state)
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
    yield* kernel.durably(
      `file ${file.path}`,
      disk.write(file.path, content, {
        mode: file.mode,
        owner: file.owner ?? "root:root",
        via: "file",
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

/** Runs what is not recorded yet; the verdict of a bootstrap, or undefined when a cleaning's steps are through. */
const runSteps = Effect.fnUntraced(function* (
  host: HostParts,
  driver: HostProcess,
  request: JobRequest,
  journal: Journal,
  hand: Hand
): Effect.fn.Return<Verdict | undefined, DiskError> {
  const { kernel } = host
  const { claim } = request.tenant
  const path = journalPath(claim, request.verb)
  let sentinel = journal.sentinelSeen
  for (const index of request.steps.keys()) {
    const fate = journal.fates.get(index)
    const again = fate?.how === "ended" && request.verb === "run" && fate.code !== 0 && fate.attempt < journal.attempt
    if (fate?.how === "ended" && !again) {
      // The driver died after the step's end and before the verdict.
      if (fate.code !== 0 && request.verb === "run") return { t: "failed", step: index, code: fate.code, stderr: [] }
      continue
    }
    if (fate?.how === "started") {
      yield* kernel.kill((process) => process.claim === claim && process.step === `${request.verb}.${index}`)
      yield* append(kernel, path, { t: "interrupted", step: index })
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
    if (code !== 0 && request.verb === "run") return { t: "failed", step: index, code, stderr }
  }
  if (request.verb === "clean") return undefined
  return request.sentinel && !sentinel && !kernel.disk.exists(SENTINEL) ? { t: "no-sentinel" } : { t: "succeeded" }
})

/** Everything of ours but the tombstone. */
export const removeOurs = (kernel: Kernel): void => {
  for (const path of kernel.disk.list(STATE_DIR)) if (path !== TENANCY_FILE) kernel.disk.remove(path)
}

/** Kills the claim's processes; a driver of the cleaning itself (`except`) and followers are left. */
export const sweep = (kernel: Kernel, claim: string, except: number | undefined) =>
  kernel.kill(
    (process) =>
      process.claim === claim && process.pid !== except && process.role !== "follower" && process.role !== "service"
  )

const finishCleaning = Effect.fnUntraced(function* (
  kernel: Kernel,
  driver: HostProcess,
  request: Extract<JobRequest, { readonly verb: "clean" }>
): Effect.fn.Return<void, DiskError> {
  const { claim } = request.tenant
  for (const path of request.remove) {
    yield* kernel.durably(
      `removal ${path}`,
      Effect.sync(() => {
        kernel.disk.remove(path)
      })
    )
  }
  // What the clean-up steps themselves left running is swept too.
  yield* sweep(kernel, claim, driver.pid)
  const found = leftovers(kernel, claim, request.verify.k0s, request.verify.paths)
  if (found.length > 0) return yield* append(kernel, journalPath(claim, "clean"), { t: "dirty", leftovers: found })
  yield* kernel.durably(
    "tombstone",
    Effect.gen(function* () {
      const record = readTenancy(kernel.disk)
      const fence = Math.max(record?.claim === claim ? record.fence : 0, request.tenant.fence)
      const text = encodeTenancy({ ...request.tenant, fence, bootId: kernel.bootId(), state: "free" })
      yield* kernel.disk.write(TENANCY_FILE, text, { mode: "0600" })
      yield* kernel.witness.tell(kernel.name, {
        _tag: "Wiped",
        claim,
        residue: request.verify.k0s ? residue(kernel, (one) => one !== "") : []
      })
    })
  )
  removeOurs(kernel)
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
    if (request.verb === "clean") {
      yield* runSteps(host, driver, request, journal, hand)
      return yield* finishCleaning(kernel, driver, request)
    }
    if (!journal.prepared) yield* prepare(kernel, request, path)
    const verdict = yield* runSteps(host, driver, request, journal, hand)
    if (verdict === undefined) return
    yield* append(kernel, path, verdict, true)
    yield* setState(kernel, claim, verdict.t === "succeeded" ? "ready" : "failed")
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
