/**
 * Owns the attached half of the in-memory driver: what one exec does with a decoded request. Admission against the
 * tenancy record, starting or re-attaching to the detached half (Runner), telling its journal as event lines, and
 * starting it again when it died. Does not own SSH: it writes to a Channel.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"
import type { HostEvent, Refusal, Request, TenancyRecord, TenancyState } from "../../hosts/Protocol.ts"
import type { DiskError } from "./Disk.ts"
import type { Journal } from "./Journal.ts"
import {
  driverPath,
  eventsOf,
  faultPath,
  isVerdict,
  journalPath,
  RUNS,
  readJournal,
  readTenancy,
  runDir,
  writtenPath
} from "./Journal.ts"
import { residue } from "./Leftovers.ts"
import { append, startRunner, sweep, writeTenancy } from "./Runner.ts"
import { type HostParts, type JobRequest, othersOn } from "./StepProcess.ts"

/** A follower starts a dead driver again this many times before it gives the call up. */
export const MAX_RESUMES = 3
/** An idle follower prints a heartbeat this often. */
const HEARTBEAT = Duration.seconds(15)

/** What the exec prints. A channel that is gone ends the process at its next line, as SIGPIPE does. */
export interface Channel {
  readonly print: (event: HostEvent) => Effect.Effect<void>
  /** A line that says nothing, so that a follower whose channel is gone ends, and a stalled one is told apart. */
  readonly beat: Effect.Effect<void>
}

type Admission =
  | { readonly _tag: "Refused"; readonly refusal: Refusal }
  /** No record. */
  | { readonly _tag: "Untouched" }
  /** The tombstone of an earlier claim, or of this one with an older fence. */
  | { readonly _tag: "Freed" }
  | { readonly _tag: "Known"; readonly record: TenancyRecord }
  /** Someone else's, which a person gave to this claim to clean. */
  | { readonly _tag: "Adopted"; readonly record: TenancyRecord }
  /** The tombstone is this claim's own. */
  | { readonly _tag: "AlreadyClean"; readonly record: TenancyRecord }

const refused = (refusal: Refusal): Admission => ({ _tag: "Refused", refusal })

/** The rules of claim and fence, apart from journals. */
export const admit = (
  request: Exclude<Request, { readonly verb: "inspect" }>,
  record: TenancyRecord | undefined
): Admission => {
  if (record === undefined) return { _tag: "Untouched" }
  const { claim, fence } = request.tenant
  const { verb } = request
  const own = record.claim === claim
  if (record.state === "free") {
    if (own && verb === "clean") return { _tag: "AlreadyClean", record }
    if (verb === "quarantine") return own ? refused({ why: "released" }) : refused({ why: "foreign", record })
    if (fence > record.fence) return { _tag: "Freed" }
    return refused(own ? { why: "released" } : { why: "fence", fence: record.fence })
  }
  if (!own) {
    if (verb === "clean" && request.adopt === true) return { _tag: "Adopted", record }
    return refused(record.state === "quarantined" ? { why: "quarantined", record } : { why: "foreign", record })
  }
  if (fence < record.fence) return refused({ why: "fence", fence: record.fence })
  // What a cleaning has begun to take away is not continued.
  if (verb === "run" && record.state === "cleaning") return refused({ why: "released" })
  if (verb === "run" && record.state === "quarantined") return refused({ why: "quarantined", record })
  return { _tag: "Known", record }
}

const tenantOfHost = (host: HostParts, request: JobRequest) => {
  const { kernel } = host
  const { claim, cluster, fence, machine } = request.tenant
  return kernel.witness.tell(kernel.name, {
    _tag: "Tenant",
    claim,
    machine,
    cluster,
    fence,
    residue: residue(kernel, (one) => one !== claim && one !== ""),
    alongside: othersOn(kernel, claim)
  })
}

type Attached = Extract<HostEvent, { readonly _tag: "Attached" }>["how"]

const driverAlive = (host: HostParts, request: JobRequest): boolean => {
  const [pid, bootId] = (host.kernel.disk.readText(driverPath(request.tenant.claim, request.verb)) ?? "").split(" ")
  return bootId !== undefined && host.kernel.alive(Number(pid), bootId)
}

const launch = Effect.fnUntraced(function* (host: HostParts, request: JobRequest): Effect.fn.Return<void, DiskError> {
  const { kernel } = host
  const { claim } = request.tenant
  kernel.disk.remove(faultPath(claim, request.verb))
  // Started and named in one go, as a driver that names itself before it does anything else.
  yield* Effect.uninterruptible(
    Effect.gen(function* () {
      const driver = yield* startRunner(host, request)
      yield* kernel.disk.write(driverPath(claim, request.verb), `${driver.pid} ${kernel.bootId()}`)
    })
  )
})

/** A cleaning's journal tells what it is to do where a run's has the hash of its data. */
const begin = (host: HostParts, request: JobRequest, mode: "all" | "verify" = "all") =>
  append(host.kernel, journalPath(request.tenant.claim, request.verb), {
    t: "begin",
    attempt: request.attempt,
    dataHash: request.verb === "run" ? request.dataHash : mode
  })

/** First tenancy of the claim: journal before record, so that a record without a journal always means a lost one. */
const startRun = Effect.fnUntraced(function* (
  host: HostParts,
  request: JobRequest
): Effect.fn.Return<Attached, DiskError> {
  const { kernel } = host
  const { claim } = request.tenant
  kernel.disk.remove(RUNS)
  yield* kernel.durably("request", kernel.disk.write(`${runDir(claim)}/request`, "request", { mode: "0600", claim }))
  yield* begin(host, request)
  yield* tenantOfHost(host, request)
  yield* writeTenancy(kernel, request, "running")
  yield* launch(host, request)
  return "fresh"
})

/** A new attempt of a cleaning; it only verifies (`verify`) where this claim never was. */
const startClean = Effect.fnUntraced(function* (
  host: HostParts,
  request: JobRequest,
  mode: "all" | "verify"
): Effect.fn.Return<Attached, DiskError> {
  yield* writeTenancy(host.kernel, request, "cleaning")
  host.kernel.disk.remove(journalPath(request.tenant.claim, "clean"))
  yield* begin(host, request, mode)
  yield* launch(host, request)
  return "fresh"
})

const fate = (journal: Journal, attempt: number): "ended" | "open" | "retry" =>
  journal.verdict === undefined
    ? "open"
    : journal.verdict.record.t === "succeeded" || attempt <= journal.attempt
      ? "ended"
      : "retry"

/** A newer fence takes over; machine and cluster follow, as `clusterctl move` changes them. */
const takeOver = (host: HostParts, request: JobRequest, record: TenancyRecord, state: TenancyState) => {
  const { cluster, fence, machine } = request.tenant
  const same =
    record.state === state && record.fence === fence && record.machine === machine && record.cluster === cluster
  return same ? Effect.void : writeTenancy(host.kernel, request, state)
}

const continueRun = Effect.fnUntraced(function* (
  host: HostParts,
  request: Extract<JobRequest, { readonly verb: "run" }>,
  record: TenancyRecord
): Effect.fn.Return<Attached | Refusal, DiskError> {
  const journal = readJournal(host.kernel.disk, journalPath(request.tenant.claim, "run"))
  if (journal === undefined) return { why: "journal-lost" }
  if (journal.dataHash !== request.dataHash) return { why: "data" }
  const state = fate(journal, request.attempt)
  if (state === "ended") {
    yield* takeOver(host, request, record, journal.verdict?.record.t === "succeeded" ? "ready" : "failed")
    return "ended"
  }
  if (driverAlive(host, request)) {
    yield* takeOver(host, request, record, record.state)
    return "attached"
  }
  yield* takeOver(host, request, record, "running")
  if (request.attempt > journal.attempt) yield* begin(host, request)
  yield* launch(host, request)
  return "resumed"
})

const continueClean = Effect.fnUntraced(function* (
  host: HostParts,
  request: Extract<JobRequest, { readonly verb: "clean" }>,
  record: TenancyRecord
): Effect.fn.Return<Attached, DiskError> {
  const journal = readJournal(host.kernel.disk, journalPath(request.tenant.claim, "clean"))
  if (journal === undefined) return yield* startClean(host, request, "all")
  if (driverAlive(host, request)) {
    yield* takeOver(host, request, record, "cleaning")
    return "attached"
  }
  if (request.attempt > journal.attempt) return yield* startClean(host, request, "all")
  if (journal.verdict !== undefined) {
    yield* takeOver(host, request, record, record.state)
    return "ended"
  }
  yield* takeOver(host, request, record, "cleaning")
  yield* launch(host, request)
  return "resumed"
})

/** Did a driver begin that no cleaning has buried? */
const began = ({ disk, processes }: HostParts["kernel"]): boolean =>
  processes().some(({ role }) => role === "runner") ||
  disk.list(RUNS).some((path) => path.endsWith("/run.journal") && (readJournal(disk, path)?.fates.size ?? 0) > 0)

/** Everything that decides and writes, under the host's lock. */
const attach = Effect.fnUntraced(function* (
  host: HostParts,
  request: JobRequest
): Effect.fn.Return<Attached | Refusal | "buried", DiskError> {
  const { kernel } = host
  const admission = admit(request, readTenancy(kernel.disk))
  switch (admission._tag) {
    case "Refused":
      return admission.refusal
    case "AlreadyClean":
      if (request.tenant.fence > admission.record.fence) yield* takeOver(host, request, admission.record, "free")
      kernel.disk.remove(RUNS)
      return "buried"
    case "Untouched":
      // Somebody took the record away, and not what it stands for.
      if (request.verb === "run" && began(kernel)) return { why: "journal-lost" }
      return yield* request.verb === "run" ? startRun(host, request) : startClean(host, request, "all")
    case "Freed":
      return yield* request.verb === "run" ? startRun(host, request) : startClean(host, request, "verify")
    case "Adopted": {
      yield* sweep(kernel, undefined)
      const written = kernel.disk.readText(writtenPath(admission.record.claim)) ?? ""
      yield* kernel.disk.write(writtenPath(request.tenant.claim), written)
      return yield* startClean(host, request, "all")
    }
    case "Known":
      return yield* request.verb === "run"
        ? continueRun(host, request, admission.record)
        : continueClean(host, request, admission.record)
  }
})

/** `overtaken`: a newer fence of the same claim has the host now. */
type Told = "verdict" | "cleaned" | "dead" | "gone" | "overtaken"

/** Tells the journal from `from` on, until a verdict stands or its driver is dead. */
const tellJournal = Effect.fnUntraced(function* (
  host: HostParts,
  request: JobRequest,
  channel: Channel,
  from: { at: number }
) {
  const { kernel } = host
  const { claim } = request.tenant
  const path = journalPath(claim, request.verb)
  const pending: Array<HostEvent> = []
  let end: Told | undefined
  const look = (): void => {
    if (end !== undefined) return
    const journal = readJournal(kernel.disk, path)
    const tenancy = readTenancy(kernel.disk)
    if (tenancy?.claim === claim && tenancy.fence > request.tenant.fence) end = "overtaken"
    if (journal === undefined) {
      end = request.verb === "clean" && tenancy?.claim === claim && tenancy.state === "free" ? "cleaned" : "gone"
      return
    }
    for (const [index, record] of journal.records.entries()) {
      if (index < from.at) continue
      if (!isVerdict(record)) pending.push(...eventsOf(record))
      else if (
        index === journal.verdict?.at &&
        (request.verb === "clean" || fate(journal, request.attempt) === "ended")
      ) {
        pending.push(...eventsOf(record))
        end = "verdict"
      }
      from.at = index + 1
    }
    if (end === undefined && request.verb === "clean" && tenancy?.claim === claim && tenancy.state === "free")
      end = "cleaned"
  }
  const wake = { latch: Deferred.makeUnsafe<void>() }
  const listener = (): void => {
    look()
    if (end !== undefined || pending.length > 0) Deferred.doneUnsafe(wake.latch, Effect.void)
  }
  const [pid = "0"] = (kernel.disk.readText(driverPath(claim, request.verb)) ?? "").split(" ")
  const unsubscribe = kernel.disk.subscribe(listener)
  return yield* Effect.gen(function* () {
    listener()
    for (;;) {
      while (pending.length > 0) {
        const event = pending.shift()
        if (event !== undefined) yield* channel.print(event)
      }
      if (end !== undefined) return end
      if (!driverAlive(host, request)) return "dead"
      wake.latch = Deferred.makeUnsafe<void>()
      listener()
      const beat = Effect.andThen(Effect.sleep(HEARTBEAT), channel.beat)
      yield* Effect.raceAllFirst([Deferred.await(wake.latch), kernel.waitFor(Number(pid)), beat])
      listener()
    }
  }).pipe(Effect.ensuring(Effect.sync(unsubscribe)))
})

const isRefusal = (value: Attached | Refusal | "buried"): value is Refusal => typeof value === "object"

const follow = Effect.fnUntraced(function* (
  host: HostParts,
  lock: Semaphore.Semaphore,
  request: JobRequest,
  channel: Channel
): Effect.fn.Return<void, DiskError> {
  const told = { at: 0 }
  for (let resumes = 0; resumes <= MAX_RESUMES; resumes += 1) {
    const how = yield* lock.withPermits(1)(attach(host, request))
    if (isRefusal(how)) return yield* channel.print({ _tag: "Refused", refusal: how })
    if (how === "buried") {
      if (resumes === 0) yield* channel.print({ _tag: "Attached", how: "ended" })
      return yield* channel.print({ _tag: "Cleaned" })
    }
    yield* channel.print({ _tag: "Attached", how })
    const end = yield* tellJournal(host, request, channel, told)
    if (end === "verdict") return
    if (end === "cleaned") return yield* channel.print({ _tag: "Cleaned" })
    if (end === "overtaken") {
      const fence = readTenancy(host.kernel.disk)?.fence ?? request.tenant.fence
      return yield* channel.print({ _tag: "Refused", refusal: { why: "fence", fence } })
    }
    const fault = host.kernel.disk.readText(faultPath(request.tenant.claim, request.verb))
    if (fault !== undefined) return yield* channel.print({ _tag: "DriverError", detail: fault })
  }
  yield* channel.print({ _tag: "DriverError", detail: `the driver died ${MAX_RESUMES + 1} times in one call` })
})

const quarantine = Effect.fnUntraced(function* (
  host: HostParts,
  request: Extract<Request, { readonly verb: "quarantine" }>,
  channel: Channel
): Effect.fn.Return<void, DiskError> {
  const admission = admit(request, readTenancy(host.kernel.disk))
  if (admission._tag === "Refused") return yield* channel.print({ _tag: "Refused", refusal: admission.refusal })
  yield* writeTenancy(host.kernel, request, "quarantined")
  yield* channel.print({ _tag: "Tenancy", record: readTenancy(host.kernel.disk) })
})

const notRoot = (uid: number): HostEvent => ({
  _tag: "Refused",
  refusal: { why: "unsupported", detail: `not root: uid ${uid}` }
})

/** One exec of the driver, as root unless `uid` says otherwise. */
export const serve = (
  host: HostParts,
  lock: Semaphore.Semaphore,
  request: Request,
  channel: Channel,
  uid: number
): Effect.Effect<void> => {
  const { kernel } = host
  const served = Effect.gen(function* () {
    if (request.verb === "inspect") {
      const { serviceManager } = kernel
      yield* channel.print({ _tag: "Facts", bootId: kernel.bootId(), serviceManager, hostname: kernel.name, uid })
      if (uid !== 0) return yield* channel.print(notRoot(uid))
      yield* channel.print({ _tag: "System", distro: "simulated", machine: "x86_64" })
      return yield* channel.print({ _tag: "Tenancy", record: readTenancy(kernel.disk) })
    }
    if (uid !== 0) {
      return yield* channel.print(notRoot(uid))
    }
    if (request.verb === "quarantine") return yield* lock.withPermits(1)(quarantine(host, request, channel))
    return yield* follow(host, lock, request, channel)
  })
  return served.pipe(Effect.catchTag("DiskError", ({ detail }) => channel.print({ _tag: "DriverError", detail })))
}
