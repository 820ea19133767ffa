/**
 * Holds the choice of hosts (domain/Pool) against a trivial model: random commands, and after each the same free hosts;
 * nobody gets a host that is held, promised, leaving, suspect or set aside, and nobody waits while one is free.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Random from "effect/Random"
import type { Claim } from "../../src/domain/Claim.ts"
import * as Pool from "../../src/domain/Pool.ts"
import { bestFree } from "../../src/domain/PoolIndex.ts"

const NAMESPACE = "default"
const RUNS = 150
const COMMANDS = 120

interface ModelHost {
  pool: string
  address: string
  blocked: "deleting" | "maintenance" | "suspect" | undefined
  claim: Claim | undefined
  healthy: boolean
}

const machineView = (name: string, more: Partial<Pool.MachineView> = {}): Pool.MachineView => ({
  uid: name,
  key: `${NAMESPACE}/${name}`,
  claim: undefined,
  deleting: false,
  address: undefined,
  createdAt: "1970-01-01T00:00:00Z",
  selector: undefined,
  failureDomain: undefined,
  group: "",
  adopts: false,
  ...more
})

/** The world as the API server would have it: what is written, by whom a grant is under way. */
class Model {
  readonly hosts = new Map<string, ModelHost>()
  readonly machines = new Map<string, { pool: string; claim: Claim | undefined }>()
  state = Pool.empty
  private ids = 0

  view(name: string, { pool, address, blocked, claim, healthy }: ModelHost): Pool.HostView {
    return {
      key: `${NAMESPACE}/${name}`,
      namespace: NAMESPACE,
      name,
      pool,
      address,
      port: 22,
      createdAt: "1970-01-01T00:00:00Z",
      labels: {},
      failureDomain: undefined,
      claim,
      heldBy: undefined,
      deleting: blocked === "deleting",
      maintenance: blocked === "maintenance",
      releaseAsked: false,
      suspect: blocked === "suspect",
      healthy,
      unclean: false,
      doubted: false
    }
  }

  dispatch(event: Pool.Event): void {
    this.state = Pool.transition(this.state, event)
    this.check(JSON.stringify(event))
  }

  seeHost(name: string): void {
    const host = this.hosts.get(name)
    this.dispatch(
      host === undefined
        ? { _tag: "HostGone", key: `${NAMESPACE}/${name}` }
        : { _tag: "HostSeen", host: this.view(name, host) }
    )
  }

  seeMachine(name: string): void {
    const machine = this.machines.get(name)
    const address = machine?.claim === undefined ? undefined : `${this.hosts.get(machine.claim.host)?.address}:22`
    this.dispatch(
      machine === undefined
        ? { _tag: "MachineGone", uid: name }
        : {
            _tag: "MachineSeen",
            machine: machineView(name, { claim: machine.claim, address })
          }
    )
  }

  ask(name: string): void {
    const pool = this.machines.get(name)?.pool ?? "p1"
    this.ids += 1
    this.dispatch({
      _tag: "Asked",
      request: { uid: name, key: `${NAMESPACE}/${name}`, namespace: NAMESPACE, pool, claimId: `c${this.ids}` }
    })
  }

  /** The writes of a grant: they win, or the host was taken by another cluster's hand meanwhile. */
  finish(wins: boolean): void {
    const [grant] = HashMap.values(this.state.grants)
    if (grant === undefined) return
    const { uid } = grant.request
    const machine = this.machines.get(uid)
    const host = this.hosts.get(grant.claim.host)
    if (wins && machine !== undefined && host !== undefined) {
      host.claim = grant.claim
      machine.claim = grant.claim
      this.seeHost(grant.claim.host)
      this.seeMachine(uid)
      this.dispatch({ _tag: "GrantEnded", uid, granted: true })
    } else this.dispatch({ _tag: machine === undefined ? "Cancelled" : "GrantEnded", uid, granted: false })
  }

  /** Whole: the machine and its host, as a release writes them. */
  release(name: string): void {
    const machine = this.machines.get(name)
    const host = machine?.claim === undefined ? undefined : this.hosts.get(machine.claim.host)
    this.dispatch({ _tag: "Cancelled", uid: name })
    const freed = machine?.claim?.host
    this.machines.delete(name)
    this.seeMachine(name)
    if (host !== undefined) host.claim = undefined
    if (freed !== undefined) this.seeHost(freed)
  }

  private free(pool: string): ReadonlyArray<string> {
    const promised = new Set([...HashMap.values(this.state.grants)].map(({ claim }) => claim.host))
    return [...this.hosts].flatMap(([name, host]) =>
      host.pool === pool && host.blocked === undefined && host.claim === undefined && !promised.has(name) ? [name] : []
    )
  }

  private check(after: string): void {
    const grants = [...HashMap.values(this.state.grants)]
    const hosts = grants.map(({ claim }) => claim.host)
    assert.strictEqual(new Set(hosts).size, hosts.length, `one host granted twice after ${after}`)
    for (const { claim, request } of grants) {
      const held = this.hosts.get(claim.host)?.claim
      assert.isTrue(held === undefined || held.id === claim.id, `${claim.host} granted while held, after ${after}`)
      assert.isFalse(
        this.state.waiting.some(({ uid }) => uid === request.uid),
        `granted and waiting after ${after}`
      )
    }
    for (const request of this.state.waiting)
      assert.deepStrictEqual(this.free(request.pool ?? ""), [], `${request.uid} waits for nothing after ${after}`)
    for (const pool of ["p1", "p2"]) {
      const free = this.free(pool).map((name) => `${this.hosts.get(name)?.healthy === true ? 0 : 1}${name}`)
      const where = { namespace: NAMESPACE, pool, failureDomain: undefined }
      const shown: Array<string> = []
      bestFree(this.state.index, where, (key) => void shown.push(key))
      const names = free
        .sort()
        .map((rank) => `${NAMESPACE}/${rank.slice(1)}`)
        .filter((key) => HashMap.has(this.state.hosts, key))
      assert.deepStrictEqual(shown, names, `the free hosts of ${pool} in order, after ${after}`)
    }
  }
}

const below = (limit: number) => Random.nextIntBetween(0, limit, { halfOpen: true })

const command = Effect.fnUntraced(function* (model: Model) {
  const host = `h${yield* below(6)}`
  const machine = `m${yield* below(8)}`
  const pool = `p${1 + (yield* below(2))}`
  const known = model.hosts.get(host)
  switch (yield* below(7)) {
    case 0:
      if (known === undefined)
        model.hosts.set(host, { pool, address: `a-${host}`, blocked: undefined, claim: undefined, healthy: false })
      return model.seeHost(host)
    case 1:
      // Only what nobody holds or is about to hold is taken away or set aside: the rest is other tests' (races).
      if (known?.claim !== undefined || [...HashMap.values(model.state.grants)].some((one) => one.claim.host === host))
        return
      if (known !== undefined && (yield* below(3)) === 0) model.hosts.delete(host)
      else if (known !== undefined && (yield* below(2)) === 0) known.healthy = !known.healthy
      else if (known !== undefined) known.blocked = known.blocked === undefined ? "maintenance" : undefined
      return model.seeHost(host)
    case 2:
    case 3:
      if (!model.machines.has(machine)) {
        model.machines.set(machine, { pool, claim: undefined })
        model.seeMachine(machine)
      }
      if (model.machines.get(machine)?.claim === undefined) model.ask(machine)
      return
    case 4:
      return model.finish(true)
    case 5:
      return model.finish(false)
    default:
      return model.release(machine)
  }
})

describe("Pool", () => {
  it.effect("random commands: no host twice, nobody waits while a host is free", () =>
    Effect.gen(function* () {
      let granted = 0
      for (let seed = 1; seed <= RUNS; seed++) {
        const model = new Model()
        yield* Effect.gen(function* () {
          for (let index = 0; index < COMMANDS; index++) yield* command(model)
        }).pipe(Random.withSeed(`pool ${seed}`))
        granted += [...model.hosts.values()].filter(({ claim }) => claim !== undefined).length
      }
      assert.isAbove(granted, RUNS)
    })
  )

  it("who waits longest is served first", () => {
    const model = new Model()
    for (const name of ["m1", "m2", "m3"]) {
      model.machines.set(name, { pool: "p1", claim: undefined })
      model.seeMachine(name)
      model.ask(name)
    }
    model.hosts.set("h1", { pool: "p1", address: "a", blocked: undefined, claim: undefined, healthy: false })
    model.seeHost("h1")
    assert.deepStrictEqual(
      [...HashMap.values(model.state.grants)].map(({ request }) => request.uid),
      ["m1"]
    )
    assert.deepStrictEqual(
      model.state.waiting.map(({ uid }) => uid),
      ["m2", "m3"]
    )
  })

  it("a quarantined, orphaned or doubly addressed host is chosen by nobody", () => {
    const claim: Claim = { id: "x", host: "h1", machine: "default/gone", uid: "u" }
    for (const host of [
      { pool: "p1", address: "a", blocked: undefined, claim, healthy: true },
      { pool: "p1", address: "a", blocked: undefined, claim: { ...claim, quarantined: "dirty" }, healthy: true }
    ]) {
      const model = new Model()
      model.hosts.set("h1", host)
      model.seeHost("h1")
      model.machines.set("m1", { pool: "p1", claim: undefined })
      model.seeMachine("m1")
      model.ask("m1")
      assert.strictEqual(HashMap.size(model.state.grants), 0)
      assert.strictEqual(Pool.whyWaiting(model.state).get("m1")?.reason, "NoFreeHost")
      assert.strictEqual(Pool.isOrphan(model.state, model.view("h1", host)), !("quarantined" in host.claim))
    }
    const model = new Model()
    model.hosts.set("h2", { pool: "p1", address: "a", blocked: undefined, claim, healthy: false })
    model.hosts.set("h3", { pool: "p1", address: "a", blocked: undefined, claim: undefined, healthy: false })
    model.seeHost("h2")
    model.state = Pool.transition(model.state, {
      _tag: "HostSeen",
      host: model.view("h3", { pool: "p1", address: "a", blocked: undefined, claim: undefined, healthy: false })
    })
    const [view] = [...HashMap.values(model.state.hosts)].filter(({ name }) => name === "h3")
    if (view === undefined) return assert.fail("h3 is known")
    assert.include(Pool.unavailable(model.state, view, "m1") ?? "", "refused")
  })
})
