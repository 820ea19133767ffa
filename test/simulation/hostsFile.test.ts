/**
 * A user's list of hosts: what it may say, what it is refused for, and what it completes in the user's YAML.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { stringAt } from "../../src/simulation/apiserver/Json.ts"
import { hostKeyOf, parseHosts } from "../../src/simulation/demo/HostsFile.ts"
import { parseManifests } from "../../src/simulation/demo/Manifests.ts"
import { completed, filled } from "../../src/simulation/demo/Pools.ts"
import { realFarm } from "../../src/simulation/demo/RealHosts.ts"

const message = (text: string): string => {
  const parsed = parseHosts(text, "hosts.yaml")
  return Result.isFailure(parsed) ? parsed.failure.message : "accepted"
}

const manifests = (text: string) => Result.getOrThrow(parseManifests(text, "mine.yaml"))
const spec = ({ object }: { readonly object: unknown }) => JSON.parse(JSON.stringify(object)).spec

describe("a list of hosts", () => {
  it("has defaults, and keeps what it says", () => {
    const text =
      "- {address: a, identityFile: k}\n- {address: '2001:db8::1', port: 2222, user: u, useSudo: true, identityFile: k}"
    const [first, second] = Result.getOrThrow(parseHosts(text, "hosts.yaml"))
    const identity = { identityFile: "k" }
    assert.deepStrictEqual(first, { address: "a", port: 22, user: "root", useSudo: false, identity, jumpHosts: [] })
    assert.deepInclude(second, { port: 2222, user: "u", useSudo: true })
    assert.strictEqual(second === undefined ? "" : hostKeyOf(second), "[2001:db8::1]:2222")
  })

  it("has passphrases and known hosts by where they are, and jump hosts with keys of their own or the host's", () => {
    const [host] = Result.getOrThrow(
      parseHosts(
        `
- address: a
  identityFile: k
  passphraseFile: k.pass
  knownHostsFile: known
  jumpHosts:
  - {address: j, user: jumper, port: 2222, identityFile: l, passphraseEnv: JUMP_PASS, hostKey: "SHA256:x"}
  - {address: '::1'}
`,
        "hosts.yaml"
      )
    )
    assert.deepStrictEqual(host?.identity, { identityFile: "k", passphraseFile: "k.pass", knownHostsFile: "known" })
    assert.deepStrictEqual(host?.jumpHosts, [
      {
        ...{ address: "j", port: 2222, user: "jumper", hostKey: "SHA256:x" },
        identity: { identityFile: "l", passphraseEnv: "JUMP_PASS" }
      },
      { address: "::1", port: 22, user: "root" }
    ])
  })

  const refusals: ReadonlyArray<readonly [text: string, says: RegExp]> = [
    ["{address: a}", /hosts\.yaml is no list of hosts, such as/],
    ["[]", /is no list of hosts/],
    ["- [", /hosts\.yaml: /],
    ["- {address: a}", /host 1 is no host: .*identityFile/s],
    ["- {address: a, identityFile: k}\n- {address: b, port: 0, identityFile: k}", /host 2 is no host/],
    ["- {address: root@a, identityFile: k}", /host 1 is no host/],
    ["- {address: a, identityFile: k, sudo: true}", /host 1 has a field sudo; there are address, port/],
    ["- {address: a, identityFile: k}\n- {address: a, port: 22, identityFile: l}", /hosts 1 and 2 are both a:22/],
    // A passphrase itself has no place here, and is not said again.
    ["- {address: a, identityFile: k, passphrase: s3cret}", /host 1 has a field passphrase; there are (?!.*s3cret)/],
    ["- {address: a, identityFile: k, passphraseFile: f, passphraseEnv: E}", /host 1 has both passphraseFile and/],
    ["- {address: a, identityFile: k, passphraseEnv: not-a-name}", /host 1 is no host: .*passphraseEnv/s],
    ["- {address: a, identityFile: k, jumpHosts: [{address: j, useSudo: true}]}", /jump host 1 has a field useSudo/],
    ["- {address: a, identityFile: k, jumpHosts: [{port: 22}]}", /host 1 is no host: .*jumpHosts.*address/s],
    ["- {address: a, identityFile: k, jumpHosts: {address: j}}", /host 1 is no host: .*jumpHosts/s],
    [
      "- {address: a, identityFile: k, jumpHosts: [{address: j, knownHostsFile: f}]}",
      /knownHostsFile without an ident/
    ],
    [
      `- {address: a, identityFile: k, jumpHosts: [${"{address: j},".repeat(9)}]}`,
      /host 1 is no host: .*(at most|length)/s
    ]
  ]
  for (const [text, says] of refusals) it(`is refused: ${text}`, () => assert.match(message(text), says))
})

describe("hosts of a list", () => {
  const key = (of: string) => ({ privateKey: Redacted.make(`key of ${of}`) })
  const listed = ["a", "b", "c"].map((address) => ({
    ...{ address, port: 22, user: "root", useSudo: false, key: key(address) },
    jumpHosts: address === "c" ? [{ address: "j", port: 22, user: "hop", key: key("j"), secret: "ssh-jump-1" }] : []
  }))
  const textOf = (found: { readonly privateKey: Redacted.Redacted<string> } | undefined) =>
    found === undefined ? undefined : Redacted.value(found.privateKey)

  it.effect("are given out in its order, the same for the same, until there are none", () =>
    Effect.gen(function* () {
      const farm = yield* realFarm(listed, "hosts.yaml")
      assert.strictEqual((yield* farm.add("one", "root")).address, "a")
      assert.strictEqual((yield* farm.add("two", "root")).address, "b")
      assert.strictEqual((yield* farm.add("one", "root")).address, "a")
      assert.deepStrictEqual(
        farm.free().map(({ address }) => address),
        ["c"]
      )
      assert.strictEqual(textOf(farm.keyOf({ address: "b", port: 22 })), "key of b")
      assert.strictEqual(textOf(farm.jumpKey("ssh-jump-1")), "key of j")
      assert.deepStrictEqual(farm.free()[0]?.jumpHosts, [
        { address: "j", port: 22, user: "hop", sshKeyRef: { name: "ssh-jump-1" } }
      ])
      assert.isUndefined(farm.keyOf({ address: "b", port: 23 }))
      assert.match((yield* Effect.flip(farm.add("x", "root", { address: "z", port: 22 }))).message, /does not list/)
      yield* farm.add("three", "root")
      assert.match((yield* Effect.flip(farm.add("four", "root"))).message, /has 3 hosts, and none is left for four/)
    }).pipe(Effect.scoped)
  )

  it("complete what the YAML leaves out, and change nothing that it says", () => {
    const known = ({ address }: { readonly address: string }) =>
      address === "a" ? { address, port: 22, user: "ubuntu", useSudo: true } : undefined
    const [bare, own, other] = manifests(`
{apiVersion: i/v1beta1, kind: RemoteMachine, metadata: {name: m}, spec: {address: a}}
---
{apiVersion: i/v1beta1, kind: PooledRemoteMachine, metadata: {name: p}, spec: {pool: x, machine: {address: a, user: me, sshKeyRef: {name: mine}}}}
---
{apiVersion: i/v1beta1, kind: RemoteMachine, metadata: {name: o}, spec: {address: elsewhere}}
`).map((manifest) => completed(manifest, known))
    assert.isDefined(bare)
    assert.isDefined(own)
    assert.isDefined(other)
    assert.deepStrictEqual(spec(bare), {
      address: "a",
      port: 22,
      user: "ubuntu",
      useSudo: true,
      sshKeyRef: { name: "ssh-a-22" }
    })
    assert.deepInclude(spec(own).machine, { user: "me", useSudo: true, sshKeyRef: { name: "mine" } })
    assert.deepStrictEqual(spec(other), { address: "elsewhere" })
  })

  it("fill the one pool that has none; with two, somebody must say", () => {
    const template = (name: string, pool: string) =>
      `{apiVersion: i/v1beta1, kind: RemoteMachineTemplate, metadata: {name: ${name}, namespace: lab}, spec: {template: {spec: {pool: ${pool}}}}}\n---\n`
    const free = [{ address: "a", port: 22, user: "root", useSudo: false }]
    const [made, ...more] = Result.getOrThrow(filled(manifests(template("t", "x")), free))
    assert.isEmpty(more)
    assert.isDefined(made)
    assert.strictEqual(stringAt(made.object, "metadata", "namespace"), "lab")
    assert.deepInclude(spec(made), { pool: "x" })
    const both = filled(manifests(template("t", "x") + template("u", "z")), free)
    assert.match(Result.isFailure(both) ? both.failure.message : "", /lab\/x, lab\/z have no hosts.*a:22/)
    const has = `{apiVersion: i/v1beta1, kind: PooledRemoteMachine, metadata: {name: p, namespace: lab}, spec: {pool: x, machine: {address: b}}}`
    assert.deepStrictEqual(Result.getOrThrow(filled(manifests(template("t", "x") + has), free)), [])
  })
})
