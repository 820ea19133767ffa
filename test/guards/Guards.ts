/**
 * Owns the table of guards: the one line each that keeps a promise, what is left when it is gone, and the tests that must
 * then fail. `npm run mutate:guards` takes each out (scripts/guards.ts); guards.test.ts sees to it that the table is true to
 * the code. A guard that moves is moved here, too; a new one gets a row.
 */
export interface Guard {
  readonly name: string
  readonly file: string
  readonly promise: string
  /** Occurs exactly once in the file. */
  readonly guard: string
  readonly instead: string
  /** Parts of paths, as vitest takes them. */
  readonly tests: ReadonlyArray<string>
}

/** The text without the guard; undefined when it is not there, or more than once. */
export const without = (text: string, { guard, instead }: Guard): string | undefined => {
  const parts = text.split(guard)
  return parts.length === 2 ? parts.join(instead) : undefined
}

const MACHINE = "src/domain/Machine.ts"
const machineTests = ["test/domain/machine.test.ts"]
const BOOTSTRAP = "src/domain/Bootstrap.ts"
const bootstrapTests = ["test/domain/bootstrap-machine.test.ts"]
const WRITES = "src/actors/ClaimWrites.ts"
const claimTests = ["test/actors/allocator.test.ts", "test/actors/machine-crash.test.ts"]
const ACTIVITIES = "src/actors/MachineActivities.ts"
const DRIVER = "src/hosts/driver"
const driverTests = [
  "test/hosts/driver.test.ts",
  "test/hosts/journal.test.ts",
  "test/hosts/handover.test.ts",
  "test/hosts/cleaning.test.ts",
  "test/conformance/hosts.shell.test.ts"
]
const seeds = ["test/simulation/seeds.test.ts"]

export const guards: ReadonlyArray<Guard> = [
  {
    name: "attempt-inspected",
    file: MACHINE,
    promise: "a late look at a host means nothing",
    guard: 'phase._tag !== "Claimed" || state.attempt !== attempt || phase.leaving !== "no"',
    instead: 'phase._tag !== "Claimed" || phase.leaving !== "no"',
    tests: machineTests
  },
  {
    name: "attempt-provisioned",
    file: MACHINE,
    promise: "a late success of a run that was replaced does not make a machine Ready",
    guard: 'phase._tag !== "Provisioning" || state.attempt !== attempt || phase.work !== "run"',
    instead: 'phase._tag !== "Provisioning" || phase.work !== "run"',
    tests: machineTests
  },
  {
    name: "attempt-cleaned",
    file: MACHINE,
    promise: "a late word that a host is clean does not free it",
    guard: 'phase._tag === "Cleaning" && state.attempt === attempt && phase.work === "clean"',
    instead: 'phase._tag === "Cleaning" && phase.work === "clean"',
    tests: machineTests
  },
  {
    name: "halted-does-nothing",
    file: MACHINE,
    promise: "nothing is done for a machine that is paused, or moved away",
    guard: "if (state.halted !== undefined) return undefined",
    instead: "",
    tests: machineTests
  },
  {
    name: "step-budget",
    file: MACHINE,
    promise: "a failing step is not tried for ever",
    guard: "phase.stepAttempt >= STEP_BUDGET",
    instead: "false",
    tests: machineTests
  },
  {
    name: "start-over-budget",
    file: MACHINE,
    promise: "a host that loses its journal again and again is not cleaned and begun on for ever",
    guard: "const spent = before >= START_OVER_BUDGET",
    instead: "const spent = false",
    tests: machineTests
  },
  {
    name: "start-over-counts",
    file: MACHINE,
    promise: "what is counted of a host's lost journals outlives its cleaning",
    guard: "phase.begunAnew === 0 ? run : { ...run, begunAnew: phase.begunAnew }",
    instead: "run",
    tests: machineTests
  },
  {
    name: "clean-budget",
    file: MACHINE,
    promise: "a host that does not get clean is quarantined in the end",
    guard: "const spent = counts && phase.tries >= CLEAN_BUDGET",
    instead: "const spent = false",
    tests: machineTests
  },
  {
    name: "suspect-is-no-deletion",
    file: MACHINE,
    promise: "a suspect host given back does not pass for the end of a deletion",
    guard: 'return phase.deleting && leaving === "deleted" ?',
    instead: "return phase.deleting ?",
    tests: machineTests
  },
  {
    name: "recover-takes-over",
    file: "src/domain/MachineRecovery.ts",
    promise: "whoever takes a touched host over has a greater fence",
    guard: "fence: (run ?? ADOPTED_RUN).fence + 1",
    instead: "fence: (run ?? ADOPTED_RUN).fence",
    tests: machineTests
  },
  {
    name: "touched-is-cleaned",
    file: "src/domain/MachineRecovery.ts",
    promise: "a host that may have been touched is cleaned when its machine goes",
    guard: "if (deleting) return cleaning(held, record)",
    instead: "if (deleting) return Phase.Pending({ waiting: [], deleting: true })",
    tests: machineTests
  },
  {
    name: "intent-precondition",
    file: WRITES,
    promise: "an intent is never written over another leader's claim",
    guard: "(carried.id !== replaces || touched)",
    instead: "touched",
    tests: claimTests
  },
  {
    name: "changed-label-stays",
    file: "src/actors/HostLabels.ts",
    promise: "a label of the host's that somebody has changed on the machine does not go with the host",
    guard: "value !== undefined && digest(value) === known",
    instead: "value !== undefined",
    tests: ["test/actors/hostLabels.test.ts"]
  },
  {
    name: "touched-host-is-kept",
    file: WRITES,
    promise: "a claim whose host was touched is never written over by who chose before",
    guard: "(carried.id !== replaces || touched)",
    instead: "carried.id !== replaces",
    tests: claimTests
  },
  {
    name: "resource-version",
    file: WRITES,
    promise: "a claim is written on what was read, or not at all",
    guard: "resourceVersion: object.metadata.resourceVersion,",
    instead: "",
    tests: [...claimTests, ...seeds]
  },
  {
    name: "deleting-machine-claims-nothing",
    file: WRITES,
    promise: "a machine that is being deleted gets no host",
    guard: 'if (leaves(machine, claimant)) return Effect.fail(new ClaimLost({ why: "machine-leaves" }))',
    instead: "",
    tests: claimTests
  },
  {
    name: "populate-own-claim",
    file: WRITES,
    promise: "a machine that carries another claim by now gets nothing of this one's host",
    guard:
      'if (claimOf(machine)?.id !== claim.id) return Effect.fail(new ClaimLost({ why: "machine-claimed", machine }))\n      const patch',
    instead: "const patch",
    tests: claimTests
  },
  {
    name: "release-own-claim",
    file: WRITES,
    promise: "a host is freed only by the claim that is on it",
    guard: "if (claimOf(fresh)?.id !== claim.id) return fresh",
    instead: "",
    tests: claimTests
  },
  {
    name: "release-of-what-is-used-again",
    file: WRITES,
    promise: "a host that another leader uses again meanwhile is not freed by who was to give it back",
    guard: "machine !== undefined && claimOf(machine)?.id === claim.id && machine.spec.address !== undefined",
    instead: "false",
    tests: claimTests
  },
  {
    name: "host-fence",
    file: ACTIVITIES,
    promise: "a new run's record is greater than everything that the host has seen",
    guard: "Math.max(fence, tenancy?.fence ?? 0) + 1",
    instead: "fence + 1",
    tests: ["test/actors/machine-crash.test.ts", "test/provider.test.ts", ...seeds]
  },
  {
    name: "foreign-tenant",
    file: ACTIVITIES,
    promise: "a host of another tenant is not taken",
    guard: "if (held && !mayAdopt(machine))",
    instead: "if (held && mayAdopt(machine) && false)",
    tests: ["test/adoptForeign.test.ts"]
  },
  {
    name: "stale-fence-ends-a-life",
    file: ACTIVITIES,
    promise: "a leader that the host calls stale reads the world anew",
    guard: 'if (error.reason === "StaleFence") return Effect.fail(new ObjectChanged({ object: keyOf(machine) }))',
    instead: 'if (error.reason === "StaleFence") return post(Event.Cleaned({ attempt }))',
    tests: seeds
  },
  {
    name: "driver-fence-run",
    file: `${DRIVER}/attach.sh`,
    promise: "the host refuses an older leader's run",
    guard: '[ "$Q_fence" -ge "$T_fence" ] || refuse "fence $T_fence"\n  [ "$T_state" != cleaning',
    instead: '[ "$T_state" != cleaning',
    tests: driverTests
  },
  {
    name: "driver-fence-clean",
    file: `${DRIVER}/reclaim.sh`,
    promise: "the host refuses an older leader's cleaning",
    guard: '[ "$Q_fence" -ge "$T_fence" ] || refuse "fence $T_fence"\n    continue_cleaning',
    instead: "continue_cleaning",
    tests: driverTests
  },
  {
    name: "driver-foreign",
    file: `${DRIVER}/attach.sh`,
    promise: "the host refuses another claim's run",
    guard:
      '[ "$T_claim" = "$Q_claim" ] || refuse_foreign\n  [ "$Q_fence" -ge "$T_fence" ] || refuse "fence $T_fence"\n  [ "$T_state" != cleaning',
    instead: '[ "$T_state" != cleaning',
    tests: driverTests
  },
  {
    name: "driver-data",
    file: `${DRIVER}/attach.sh`,
    promise: "other bootstrap data never goes on with a run",
    guard: '[ "$J_hash" = "$Q_hash" ] || refuse data',
    instead: ":",
    tests: driverTests
  },
  {
    name: "stale-sentinel",
    file: `${DRIVER}/run.sh`,
    promise: "a sentinel from before is never taken for success",
    guard: 'rm -f "$SENTINEL" || die "can not remove the stale $SENTINEL"',
    instead: ":",
    tests: driverTests
  },
  {
    name: "sentinel-needed",
    file: `${DRIVER}/run.sh`,
    promise: "without the sentinel there is no success",
    guard: '[ "$Q_sentinel" = yes ] && [ -z "$J_seen" ] && [ ! -e "$SENTINEL" ]',
    instead: "false",
    tests: driverTests
  },
  {
    name: "step-once",
    file: `${DRIVER}/run.sh`,
    promise: "a step that is recorded as done never runs again",
    guard: '*" $dr_step "*) ;;',
    instead: '"no step") ;;',
    tests: driverTests
  },
  {
    name: "dead-before-again",
    file: `${DRIVER}/run.sh`,
    promise: "an interrupted step is dead before it runs once more",
    guard: 'kill_step "$si_step" || die "process $SURVIVORS of interrupted step $si_step does not die"',
    instead: ":",
    tests: driverTests
  },
  {
    name: "verify-before-release",
    file: `${DRIVER}/clean.sh`,
    promise: "a host with anything left is not called clean",
    guard: 'k0s_data && leftover "/var/lib/k0s"',
    instead: ":",
    tests: driverTests
  },
  {
    name: "watch-gone",
    file: "src/kube/Reflector.ts",
    promise: "a version that is too old leads to a new list",
    guard: 'case "Gone":\n        this.stale = true',
    instead: 'case "Gone":',
    tests: ["test/kube/Reflector.test.ts"]
  },
  {
    name: "older-events",
    file: "src/kube/ReflectorStore.ts",
    promise: "a replayed event does not bring back the past",
    guard: "isNewer(version, current.metadata.resourceVersion)",
    instead: "version !== undefined",
    tests: ["test/kube/Reflector.test.ts"]
  },
  {
    name: "lease-holder",
    file: "src/kube/Lease.ts",
    promise: "a lease that another holds is not taken before it is over",
    guard: 'if (holder !== "" && !this.holds(found.value) && now < expires) return "heldByOther"',
    instead: "",
    tests: ["test/kube/Lease.test.ts"]
  },
  {
    name: "lease-deadline",
    file: "src/kube/Lease.ts",
    promise: "a leader that can't renew stops before another may lead",
    guard: "if (remaining <= 0) {",
    instead: "if (false) {",
    tests: ["test/kube/Lease.test.ts"]
  },
  {
    name: "patched-object-is-left-out",
    file: "src/kube/Status.ts",
    promise: "a server's quote of a patched Secret reaches no error",
    guard: "return at === -1 ? message : `",
    instead: "return message + `",
    tests: ["test/kube/statusSecrets.test.ts"]
  },
  {
    name: "host-key",
    file: "src/ssh/LiveSshConnection.ts",
    promise: "a host with another key than the one that is trusted is not logged in to",
    guard: "if (refused !== undefined) this.refuse(hostKeyRefused(this.name, refused))",
    instead: "",
    tests: ["test/ssh"]
  },
  {
    name: "registry-one-actor",
    file: "src/runtime/Registry.ts",
    promise: "an object has one actor",
    guard: "if (living !== undefined) return living.observe(event)",
    instead: "",
    tests: ["test/runtime", "test/provider.test.ts", "test/actors"]
  },
  {
    name: "activity-failure-ends-life",
    file: "src/runtime/Actor.ts",
    promise: "an activity that fails does not vanish with its fiber",
    guard: "Effect.onError((cause) => (slot.replaced ? Effect.void : Deferred.failCause(broken, cause))),",
    instead: "",
    tests: ["test/runtime", "test/actors"]
  },
  {
    name: "promise-before-asking",
    file: "src/actors/PoolAllocator.ts",
    promise: "when a process starts, a host is promised to the oldest machine and claimed only when its actor asks",
    guard: "if (early.has(grant.request.uid)) return",
    instead: "",
    tests: ["test/actors/allocator.test.ts", "test/provider.test.ts"]
  },
  {
    name: "oldest-at-start",
    file: "src/actors/PoolAllocator.ts",
    promise: "a host that is free when a process starts goes to the oldest waiting machine, whoever asks first",
    guard: 'yield* dispatch({ _tag: "Opened", requests })',
    instead: "",
    tests: ["test/claims.test.ts"]
  },
  {
    name: "refused-no-longer",
    file: "src/actors/PoolAllocator.ts",
    promise: "a host that was refused for its address is shown free once the other object is gone",
    guard: "yield* Effect.forEach(Pool.rivals(before, after, event), status.look, { discard: true })",
    instead: "",
    tests: ["test/claims.test.ts"]
  },
  {
    name: "latest-word",
    file: "src/actors/Waiters.ts",
    promise: "a machine that does not listen is told the last of why it waits, and nobody waits to tell it the rest",
    guard: "if (waiter.isTold) return Effect.void",
    instead: "",
    tests: ["test/actors/allocator.test.ts"]
  },
  {
    name: "deleting-machine-begins-nothing",
    file: "src/actors/MachineRecording.ts",
    promise: "a machine of which an answer told that it is being deleted begins no run",
    guard: "(machine.metadata.deletionTimestamp !== undefined && isToBegin(machine, state)) ||",
    instead: "",
    tests: ["test/actors/machineRecording.test.ts"]
  },
  {
    name: "mailbox-bound",
    file: "src/runtime/Mailbox.ts",
    promise: "an activity that reports faster than its actor decides is held back",
    guard: "Queue.bounded<Event | typeof WAKE>(capacity(MAILBOX_CAPACITY))",
    instead: "Queue.bounded<Event | typeof WAKE>(1_000_000)",
    tests: ["test/simulation/usage.test.ts"]
  },
  {
    name: "events-bound",
    file: "src/actors/EventRecorder.ts",
    promise: "Events that can't be written do not fill the memory",
    guard: "Queue.sliding<Pending>(capacity(EVENTS_WAITING))",
    instead: "Queue.sliding<Pending>(1_000_000)",
    tests: ["test/simulation/usage.test.ts"]
  },
  {
    name: "known-hosts-bind-pins",
    file: "src/ssh/HostKeys.ts",
    promise: "a pin does not outvote what knownHosts says of the host",
    guard: "for (const expected of [trust.pins, keys])",
    instead: "for (const expected of [trust.pins.length > 0 ? trust.pins : keys])",
    tests: ["test/ssh"]
  },
  {
    name: "revoked-key",
    file: "src/ssh/HostKeys.ts",
    promise: "a revoked host key is refused, also one that is pinned",
    guard: "if (revoked.has(offered.fingerprint))",
    instead: "if (revoked.has(offered.fingerprint) && trust.pins.length === 0)",
    tests: ["test/ssh"]
  },
  {
    name: "leaves-etcd",
    file: "src/domain/Cleaning.ts",
    promise: "a controller leaves etcd before its host is reset",
    guard: '...(input.role === "controller" ? [leaveEtcd(',
    instead: '...(input.role === "worker" ? [leaveEtcd(',
    tests: ["test/domain/cleaning.test.ts"]
  },
  {
    name: "own-host-is-kept",
    file: MACHINE,
    promise: "a machine with a host of its own does not give it back for another one",
    guard: 'failure.another === true && phase.claim.host !== ""',
    instead: "failure.another === true",
    tests: machineTests
  },
  {
    name: "no-doubted-host-instead",
    file: "src/domain/PoolChoice.ts",
    promise: "no machine goes from one host of another tenant to the next and back",
    guard: "(host) => !host.doubted",
    instead: "() => true",
    tests: ["test/domain/poolChoice.test.ts", "test/foreignHosts.test.ts"]
  },
  {
    name: "unclean-is-set-aside",
    file: "src/actors/Objects.ts",
    promise: "a host that was given back as another tenant's is not chosen at once again",
    guard: "unclean: uncleanFor(host, now) > 0",
    instead: "unclean: false",
    tests: ["test/foreignHosts.test.ts", "test/actors/allocator.test.ts"]
  },
  {
    name: "shell-that-is-none",
    file: "src/hosts/Heard.ts",
    promise: "an account that runs no commands is told in its own words, not as the driver's failure",
    guard: "heard ? Effect.succeed(error) : unheard(session, host, error)",
    instead: "heard ? Effect.succeed(error) : Effect.succeed(error)",
    tests: ["test/hosts/LiveHostRuns.test.ts"]
  },
  {
    name: "other-leaders-token",
    file: BOOTSTRAP,
    promise: "a finalizer that another leader put there stands for a token, which is revoked first",
    guard: "enter(state, minted || observed.finalizer ? cleaning : Phase.Deleted())",
    instead: "enter(state, minted ? cleaning : Phase.Deleted())",
    tests: bootstrapTests
  },
  {
    name: "unseen-is-not-deleted",
    file: BOOTSTRAP,
    promise: "what an old list leaves out keeps its finalizer",
    guard: 'enter({ ...before, halted: "gone" }, Phase.Deleted())',
    instead: "enter(before, Phase.Deleted())",
    tests: bootstrapTests
  },
  {
    name: "token-taken-back",
    file: "src/actors/BootstrapTokenSecrets.ts",
    promise: "a token that was made for a config that is gone is taken back",
    guard: "if (yield* isWanted) return yield* made",
    instead: "return yield* made",
    tests: ["test/actors/bootstrapTokens.test.ts"]
  },
  {
    name: "token-not-made",
    file: "src/actors/BootstrapTokenSecrets.ts",
    promise: "no token is made for a config that is known to be gone: who makes it may end before it can take it back",
    guard: 'if (!(yield* isWanted)) return yield* unwanted("none was made")',
    instead: "",
    tests: ["test/actors/bootstrapTokens.test.ts"]
  },
  {
    name: "direct-journal-believed",
    file: `${DRIVER}/journal.sh`,
    promise: "writes to the journal count as synchronous only where nothing at all was said against it",
    guard: '&& [ -z "$dj_said" ] && J_direct=yes',
    instead: "&& J_direct=yes",
    tests: ["test/hosts/journal.test.ts"]
  },
  {
    name: "waiting-shell-rights",
    file: "src/hosts/Exchange.ts",
    promise: "a request is not said to a shell that has other rights than it asks for",
    guard: "waiting.useSudo !== access.useSudo || !(yield* accepts(waiting))",
    instead: "!(yield* accepts(waiting))",
    tests: ["test/hosts/Exchange.test.ts"]
  },
  {
    name: "waiting-shell-gone",
    file: "src/hosts/Exchange.ts",
    promise: "a run has an exec of its own where the shell that looked is gone",
    guard: "Effect.match({ onFailure: () => false, onSuccess: () => true })",
    instead: "Effect.match({ onFailure: () => true, onSuccess: () => true })",
    tests: ["test/hosts/Exchange.test.ts"]
  },
  {
    name: "waiting-shell-one",
    file: "src/hosts/Exchange.ts",
    promise: "a host has one waiting shell of a connection at most",
    guard: "yield* connection.waiting?.close ?? Effect.void\n",
    instead: "",
    tests: ["test/hosts/Exchange.test.ts"]
  },
  {
    name: "lost-race-without-news",
    file: "src/actors/PoolAllocator.ts",
    promise: "a race that was lost to who is not known yet is not run again before there is news",
    guard: "if (!isNews) yield*",
    instead: "if (false) yield*",
    tests: ["test/actors/allocator.test.ts"]
  },
  {
    name: "swept-request-begins-nothing",
    file: `${DRIVER}/drive.sh`,
    promise: "a driver whose request was swept before anyone knew of it leaves the run to the next one",
    guard: '[ -e "$0" ] || return 1',
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "record-gone-begins-nothing",
    file: "src/simulation/hosts/Driver.ts",
    promise: "a host whose record was taken away is not taken for a new one",
    guard: 'if (request.verb === "run" && began(kernel))',
    instead: "if (false)",
    tests: ["test/simulation/hosts/conformance.test.ts"]
  },
  {
    name: "request-of-a-living-driver",
    file: `${DRIVER}/process.sh`,
    promise: "what a living driver runs is not swept, though the one it was sent to is gone",
    guard: ' || driven "$dq_file" || DEAD_REQUESTS',
    instead: " || DEAD_REQUESTS",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "request-of-a-driver-too-many",
    file: `${DRIVER}/drive.sh`,
    promise: "a driver that finds another one at work leaves nothing of what it was sent, secrets too",
    guard: 'driven "$0" || rm -f "$0"',
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "request-of-a-driver-too-late",
    file: `${DRIVER}/follow.sh`,
    promise: "a follower takes what it launched with it when the run is over, though that driver is still to come",
    guard: "INCOMING=$REQUEST",
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "request-of-a-killed-driver",
    file: `${DRIVER}/clean.sh`,
    promise: "what a driver ran, secrets too, goes with it when a cleaning kills it",
    guard: '[ ! -e "$kd_request" ] || rm -f "$kd_request"',
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "buried-under-the-lock",
    file: `${DRIVER}/clean.sh`,
    promise: "whoever begins on a host that was told clean begins when the cleaning has removed all that it removes",
    guard: "  record cleaned || die",
    instead: "  unlock\n  record cleaned || die",
    tests: ["test/hosts/cleaning.test.ts"]
  },
  {
    name: "buried-for-a-killed-driver",
    file: `${DRIVER}/follow.sh`,
    promise: "who tells that a host is clean leaves nothing of a driver that died before it could remove it",
    guard: 'rm -rf "$REQUEST" $DEAD_REQUESTS "$STATE/runs" $DEAD_LOCKS',
    instead: 'rm -rf "$REQUEST" "$STATE/runs"',
    tests: ["test/hosts/cleaning.test.ts"]
  },
  {
    name: "launched-for-what-is-no-more",
    file: `${DRIVER}/drive.sh`,
    promise: "a driver that was launched before the claim was taken over, or cleaned, begins nothing",
    guard: "if driver_alive || ! wanted; then",
    instead: "if driver_alive; then",
    tests: ["test/hosts/cleaning.test.ts"]
  },
  {
    name: "locks-of-a-driver-too-late",
    file: `${DRIVER}/drive.sh`,
    promise: "a driver that comes when the host is clean leaves no lock there",
    guard: 'rm -f "$MY_LOCKS"*',
    instead: "unlock",
    tests: ["test/hosts/cleaning.test.ts"]
  },
  {
    name: "request-of-who-is-refused",
    file: `${DRIVER}/attach.sh`,
    promise: "a follower that is refused takes its request along when what it launched was killed, known to nobody",
    guard: 'driven "$REQUEST" || take_back',
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "owner-by-start",
    file: `${DRIVER}/process.sh`,
    promise: "a process that has a dead one's number keeps neither its request nor what its .kin names",
    guard: '[ "$PS_start" = ',
    instead: "[ - != ",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "kin-of-the-living",
    file: `${DRIVER}/process.sh`,
    promise: "only a living follower's ancestors are spared by a cleaning",
    guard: " && owner_lives ",
    instead: " && : ",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "step-of-a-killed-driver",
    file: `${DRIVER}/step.sh`,
    promise: "what a driver that was killed had forked does not become a step any more, which is run again",
    guard: 'alive "$ME" || exit 137',
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "steps-of-a-success",
    file: `${DRIVER}/follow.sh`,
    promise: "the steps' scripts of a run that ended well are gone, though its driver died before it could remove them",
    guard: '[ "$1" != ready ] || forget_steps',
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "ticker-of-this-fifo",
    file: `${DRIVER}/follow.sh`,
    promise: "a follower that goes on with another fifo is woken through that one",
    guard: '[ -z "$TICKER" ] || kill "$TICKER" 2>/dev/null\n  start_ticker',
    instead: '[ -n "$TICKER" ] || start_ticker',
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "cut-short-for-who-looked",
    file: `${DRIVER}/accept.sh`,
    promise: "of a request that was cut short nothing stays, also where it was said to the shell that looked",
    guard: 'trap "rm -f $1" EXIT',
    instead: ":",
    tests: ["test/hosts/handover.test.ts"]
  },
  {
    name: "cut-short-for-an-exec",
    file: `${DRIVER}/Exec.ts`,
    promise: "of a request that was cut short nothing stays, whatever the shell makes of it",
    guard: `'trap "rm -f $f" EXIT'`,
    instead: '":"',
    tests: ["test/hosts/handover.test.ts"]
  }
]
