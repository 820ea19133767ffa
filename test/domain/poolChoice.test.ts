/**
 * Holds whom a host goes to and which one it is (domain/PoolChoice, domain/Pool): the oldest machine first; selector and
 * failure domain; spread over domains; healthy before unknown; then by name; and what a machine that gets none is told.
 */
import { assert, describe, it } from "@effect/vitest"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Claim } from "../../src/domain/Claim.ts"
import { parseLabelSelector } from "../../src/domain/LabelSelector.ts"
import * as Pool from "../../src/domain/Pool.ts"

const host = (name: string, more: Partial<Pool.HostView> = {}): Pool.Event => ({
  _tag: "HostSeen",
  host: {
    key: `default/${name}`,
    namespace: "default",
    name,
    pool: "p",
    address: name,
    port: 22,
    createdAt: "2026-01-01T00:00:00Z",
    labels: {},
    failureDomain: undefined,
    claim: undefined,
    heldBy: undefined,
    deleting: false,
    maintenance: false,
    releaseAsked: false,
    suspect: false,
    healthy: false,
    unclean: false,
    doubted: false,
    ...more
  }
})

const machine = (uid: string, more: Partial<Pool.MachineView> = {}): Pool.Event => ({
  _tag: "MachineSeen",
  machine: {
    uid,
    key: `default/${uid}`,
    claim: undefined,
    deleting: false,
    address: undefined,
    createdAt: "2026-01-01T00:00:00Z",
    selector: undefined,
    failureDomain: undefined,
    group: "g",
    adopts: false,
    ...more
  }
})

const asks = (uid: string, pool = "p"): Pool.Event => ({
  _tag: "Asked",
  request: { uid, key: `default/${uid}`, namespace: "default", pool, claimId: `claim-${uid}` }
})

const then = (state: Pool.State, ...events: ReadonlyArray<Pool.Event>): Pool.State =>
  events.reduce(Pool.transition, state)
const having = (...events: ReadonlyArray<Pool.Event>): Pool.State => events.reduce(Pool.transition, Pool.empty)

const given = (state: Pool.State): Record<string, string> =>
  Object.fromEntries([...HashMap.values(state.grants)].map(({ request, claim }) => [request.uid, claim.host]))

const selector = (text: string) => Result.getOrThrow(parseLabelSelector(text))
const zone = (failureDomain: string) => ({ failureDomain, labels: { "topology.kubernetes.io/zone": failureDomain } })
const claim = (uid: string, on: string): Claim => ({ id: `claim-${uid}`, host: on, machine: `default/${uid}`, uid })

describe("who is served", () => {
  it("the oldest machine, whatever the order they asked in; of one age, by name", () => {
    const waiting = having(
      machine("young", { createdAt: "2026-01-03T00:00:00Z" }),
      machine("old", { createdAt: "2026-01-01T00:00:00Z" }),
      machine("middle", { createdAt: "2026-01-02T00:00:00Z" }),
      machine("middle-too", { createdAt: "2026-01-02T00:00:00Z" }),
      ...["young", "middle-too", "old", "middle"].map((uid) => asks(uid))
    )
    assert.deepStrictEqual(
      waiting.waiting.map(({ uid }) => uid),
      ["old", "middle", "middle-too", "young"]
    )
    const one = Pool.transition(waiting, host("h1"))
    assert.deepStrictEqual(given(one), { old: "h1" })
    const two = Pool.transition(one, host("h2"))
    assert.deepStrictEqual(given(two), { old: "h1", middle: "h2" })
  })

  it("one that lost a race waits in its old place", () => {
    const state = having(
      machine("old", { createdAt: "2026-01-01T00:00:00Z" }),
      machine("young", { createdAt: "2026-01-02T00:00:00Z" }),
      host("h1"),
      asks("young"),
      asks("old")
    )
    assert.deepStrictEqual(given(state), { young: "h1" })
    const taken = host("h1", { claim: { ...claim("other", "h1") } })
    const lost = [taken, { _tag: "GrantEnded", uid: "young", granted: false } as const].reduce(Pool.transition, state)
    assert.deepStrictEqual(
      lost.waiting.map(({ uid }) => uid),
      ["old", "young"]
    )
  })

  it("a machine that no host suits holds nobody up", () => {
    const state = having(
      machine("picky", { createdAt: "2026-01-01T00:00:00Z", selector: selector("gpu") }),
      machine("other", { createdAt: "2026-01-02T00:00:00Z" }),
      asks("picky"),
      asks("other"),
      host("h1")
    )
    assert.deepStrictEqual(given(state), { other: "h1" })
  })

  it("a host whose address is corrected lets in the one that was refused for it, in whatever pool", () => {
    const clash = having(
      machine("m"),
      host("h1", { address: "10.0.0.1", pool: "elsewhere" }),
      host("h2", { address: "10.0.0.1" }),
      asks("m")
    )
    assert.deepStrictEqual(given(clash), {})
    assert.deepStrictEqual(given(Pool.transition(clash, host("h1", { address: "10.0.0.9", pool: "elsewhere" }))), {
      m: "h2"
    })
  })
})

describe("one address, however it is written", () => {
  const same: ReadonlyArray<readonly [string, string]> = [
    ["fd00::a", "FD00:0:0::000A"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
    ["fe80::1%eth0", "FE80::1%eth0"],
    ["node.example.org", "Node.Example.org."]
  ]
  for (const [first, second] of same)
    it(`${first} and ${second}: the second object is refused`, () => {
      const state = having(machine("m"), machine("n"), host("h1", { address: first }), host("h2", { address: second }))
      assert.deepStrictEqual(given(then(state, asks("m"), asks("n"))), { m: "h1" })
    })
  it("others are others", () => {
    const hosts = ["fd00::a", "fd00::b", "10.0.0.1", "10.0.0.10", "fe80::1%eth0", "fe80::1%eth1"]
    const state = having(...hosts.map((address, index) => host(`h${index}`, { address })))
    const asked = hosts.map((_, index) => `m${index}`).flatMap((uid) => [machine(uid), asks(uid)])
    assert.strictEqual(Object.keys(given(then(state, ...asked))).length, hosts.length)
  })
})

describe("which host", () => {
  it("only one that the selector selects; another selector is asked anew", () => {
    const hosts = [host("h1", { labels: { rack: "r1" } }), host("h2", { labels: { rack: "r2" } })]
    const waiting = having(...hosts, machine("m", { selector: selector("rack=r3") }), asks("m"))
    assert.deepStrictEqual(given(waiting), {})
    assert.include(Pool.whyWaiting(waiting).get("m")?.message ?? "", '2 not selected by "rack=r3"')
    assert.deepStrictEqual(given(Pool.transition(waiting, machine("m", { selector: selector("rack in (r2,r3)") }))), {
      m: "h2"
    })
    // A label that a host gets is as good as a new host.
    assert.deepStrictEqual(given(Pool.transition(waiting, host("h1", { labels: { rack: "r3" } }))), { m: "h1" })
  })

  it("only one in the failure domain that the Machine asks for", () => {
    const waiting = having(host("h1", zone("a")), host("h2"), machine("m", { failureDomain: "b" }), asks("m"))
    assert.deepStrictEqual(given(waiting), {})
    assert.include(Pool.whyWaiting(waiting).get("m")?.message ?? "", '2 not in failure domain "b"')
    assert.deepStrictEqual(given(Pool.transition(waiting, host("h3", zone("b")))), { m: "h3" })
    assert.deepStrictEqual(given(Pool.transition(waiting, machine("m", { failureDomain: "a" }))), { m: "h1" })
  })

  it("of the domain with the fewest machines of its group, counting those that are about to be there", () => {
    const hosts = ["a1", "a2", "a3", "b1", "b2", "c1"].map((name) => host(name, zone(name.slice(0, 1))))
    const uids = ["m1", "m2", "m3", "m4", "m5"]
    const state = having(...hosts, ...uids.flatMap((uid) => [machine(uid), asks(uid)]))
    assert.deepStrictEqual(given(state), { m1: "a1", m2: "b1", m3: "c1", m4: "a2", m5: "b2" })
    // Another group begins anew: what others do in a domain is no reason to avoid it.
    const other = [machine("n1", { group: "other" }), asks("n1")].reduce(Pool.transition, state)
    assert.strictEqual(given(other)["n1"], "a3")
    // Claims that are written count like grants.
    const written = [
      ...["a1", "b1"].map((name, index) =>
        host(name, { ...zone(name.slice(0, 1)), claim: claim(`m${index + 1}`, name) })
      ),
      ...["a2", "b2", "c1"].map((name) => host(name, zone(name.slice(0, 1)))),
      machine("m1", { claim: claim("m1", "a1") }),
      machine("m2", { claim: claim("m2", "b1") }),
      machine("m3"),
      asks("m3")
    ].reduce(Pool.transition, Pool.empty)
    assert.deepStrictEqual(given(written), { m3: "c1" })
  })

  it("healthy before unknown, then by name; a domain's spread comes first", () => {
    const state = having(host("h1"), host("h2"), host("h3", { healthy: true }), machine("m"), asks("m"))
    assert.deepStrictEqual(given(state), { m: "h3" })
    assert.deepStrictEqual(given(having(host("h2"), host("h1"), machine("m"), asks("m"))), { m: "h1" })
    const spread = having(
      host("a1", { ...zone("a"), claim: claim("m1", "a1") }),
      machine("m1", { claim: claim("m1", "a1") }),
      host("a2", { ...zone("a"), healthy: true }),
      host("b1", zone("b")),
      machine("m2"),
      asks("m2")
    )
    assert.deepStrictEqual(given(spread), { m2: "b1" })
  })

  for (const [what, more] of [
    ["suspect", { suspect: true }],
    ["in maintenance", { maintenance: true }],
    ["being deleted", { deleting: true }],
    ["quarantined", { claim: { ...claim("x", "h1"), quarantined: "dirty" } }],
    ["held without a claim of ours", { heldBy: "default/old" }],
    ["not clean by its own record", { unclean: true }]
  ] as const)
    it(`never one that is ${what}`, () => {
      const state = having(host("h1", { healthy: true, ...more }), machine("m"), asks("m"))
      assert.deepStrictEqual(given(state), {})
      assert.strictEqual(Pool.whyWaiting(state).get("m")?.reason, "NoFreeHost")
    })

  it("one that is not clean, for a machine that may take it over", () => {
    const state = having(host("h1", { unclean: true }), machine("m", { adopts: true }), asks("m"))
    assert.deepStrictEqual(given(state), { m: "h1" })
  })

  it("another one that is free, as good as not doubted: nobody is sent from one foreign host to the next", () => {
    const mine = claim("m", "h1")
    const held = [host("h1", { claim: mine }), machine("m", { claim: mine, address: "h1:22" })]
    const request = { uid: "m", namespace: "default", pool: "p" }
    const others: ReadonlyArray<readonly [Partial<Pool.HostView>, boolean]> = [
      [{}, true],
      [{ doubted: true }, false],
      [{ unclean: true, doubted: true }, false],
      [{ suspect: true }, false],
      [{ claim: claim("x", "h2") }, false],
      [{ pool: "q" }, false]
    ]
    for (const [more, is] of others)
      assert.strictEqual(Pool.hasAnother(having(...held, host("h2", more)), request), is, JSON.stringify(more))
    const choosy = machine("m", { claim: mine, selector: selector("never") })
    assert.isFalse(Pool.hasAnother(having(...held, host("h2"), choosy), request))
    assert.isFalse(Pool.hasAnother(having(...held, host("h2")), { ...request, pool: undefined }))
  })

  it("a tenant that is a machine of this cluster's is known by its claim and address, to who has the same address of its own", () => {
    const address = "a:22"
    const owner = machine("m1", { address, claim: claim("m1", "") })
    const late = machine("m2", { address, claim: claim("m2", "") })
    const tenant = claim("m1", "").id
    const told = Pool.tenantHere(having(owner, late), "m2", tenant) ?? ""
    assert.match(told, /a:22 of default\/m2 already belongs to RemoteMachine default\/m1/)
    assert.isUndefined(Pool.tenantHere(having(owner, late), "m2", "another"), "a stranger's")
    assert.isUndefined(Pool.tenantHere(having(machine("m1", { address }), late), "m2", tenant), "let go of")
    const elsewhere = machine("m1", { address: "b:22", claim: claim("m1", "") })
    assert.isUndefined(Pool.tenantHere(having(elsewhere, late), "m2", tenant))
    const pooled = machine("m2", { address, claim: claim("m2", "h1") })
    assert.isUndefined(Pool.tenantHere(having(owner, pooled), "m2", tenant), "of a pool's host: it is given back")
  })

  it("an intent whose host was given back as unclean, the machine's part of it unwritten, is for another one", () => {
    const intent = claim("m", "h1")
    const unclean = host("h1", { unclean: true, doubted: true })
    const state = having(unclean, host("h2"), machine("m", { claim: intent }), asks("m"))
    assert.deepStrictEqual(given(state), { m: "h2" })
    assert.deepStrictEqual(given(having(unclean, machine("m", { claim: intent, adopts: true }), asks("m"))), {
      m: "h1"
    })
  })

  it("an intent is completed on its host, whatever the selector says now", () => {
    const intent = claim("m", "h1")
    const state = having(
      host("h1"),
      host("h0"),
      machine("m", { claim: intent, selector: selector("never") }),
      asks("m")
    )
    assert.strictEqual(Option.getOrUndefined(HashMap.get(state.grants, "m"))?.claim.id, intent.id)
  })
})
