/**
 * Holds the reading of known_hosts to OpenSSH's: names as its own ssh-keygen hashes and finds them, ports, patterns,
 * markers; and that a line which can't be read is told, never passed over. Pins: what people may write.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { fingerprint } from "../../src/ssh/Fingerprint.ts"
import { firstUse, type HostKeyTrust, knownTypes, parsePins, pinOf, pinText, refusal } from "../../src/ssh/HostKeys.ts"
import { makeKeyPair } from "./keyPair.ts"

const [one, two] = [makeKeyPair(), makeKeyPair()]
const key = one.public.split(" ").slice(0, 2).join(" ")
const other = two.public.split(" ").slice(0, 2).join(" ")

const trust = (knownHosts: string): HostKeyTrust => ({ pins: [], knownHosts })
const at = (address: string, port = 22) => ({ address, port })
const why = (file: string, place: { readonly address: string; readonly port: number }) =>
  refusal(trust(file), place, one.publicBytes)?.why ?? "accepted"

describe("known_hosts", () => {
  const cases: ReadonlyArray<readonly [name: string, file: string, address: string, port: number, what: string]> = [
    ["a name", `db.example ${key}`, "db.example", 22, "accepted"],
    ["names are the same in any case", `DB.Example ${key}`, "db.EXAMPLE", 22, "accepted"],
    ["several names of a line", `a,10.0.0.7 ${key}`, "10.0.0.7", 22, "accepted"],
    ["IPv6", `fd00::7 ${key}`, "fd00::7", 22, "accepted"],
    ["IPv6 on a port", `[fd00::7]:2222 ${key}`, "fd00::7", 2222, "accepted"],
    ["a port", `[db.example]:2222 ${key}`, "db.example", 2222, "accepted"],
    ["a port is not 22", `[db.example]:2222 ${key}`, "db.example", 22, "unknown"],
    ["a name without port counts for other ports", `db.example ${key}`, "db.example", 2222, "accepted"],
    ["unless the port has lines", `db.example ${key}\n[db.example]:2222 ${other}`, "db.example", 2222, "changed"],
    ["patterns", `*.example,10.0.0.? ${key}`, "10.0.0.7", 22, "accepted"],
    ["a negated pattern", `*.example,!db.example ${key}`, "db.example", 22, "unknown"],
    ["several keys", `db.example ${other}\ndb.example ${key}`, "db.example", 22, "accepted"],
    ["another key", `db.example ${other}`, "db.example", 22, "changed"],
    ["comments and empty lines", `# hosts\n\n  db.example ${key} root@db\r\n`, "db.example", 22, "accepted"],
    ["nothing of it", `web.example ${key}`, "db.example", 22, "unknown"],
    ["an empty file", "", "db.example", 22, "unknown"],
    ["a revoked key", `@revoked * ${key}\ndb.example ${key}`, "db.example", 22, "revoked"],
    ["another revoked key", `@revoked * ${other}\ndb.example ${key}`, "db.example", 22, "accepted"],
    ["a certificate authority", `@cert-authority *.example ${other}`, "db.example", 22, "certificate"],
    ["its key is no host key", `@cert-authority *.example ${key}`, "db.example", 22, "certificate"],
    ["a host key beside it", `@cert-authority * ${other}\ndb.example ${key}`, "db.example", 22, "accepted"],
    ["no name", `${key}`, "db.example", 22, "invalid"],
    ["no key", "db.example ssh-ed25519", "db.example", 22, "invalid"],
    ["a key of another type than it says", `db.example ssh-rsa ${key.split(" ")[1]}`, "db.example", 22, "invalid"],
    ["an unknown marker", `@strange * ${key}`, "db.example", 22, "invalid"],
    ["a broken hash", `|1|x ${key}`, "db.example", 22, "invalid"]
  ]
  for (const [name, file, address, port, what] of cases)
    it(`${name}: ${what}`, () => assert.strictEqual(why(file, at(address, port)), what))

  it("hashed names, as ssh-keygen -H makes them", () => {
    const directory = mkdtempSync(join(tmpdir(), "machinist-known-"))
    const file = join(directory, "known_hosts")
    writeFileSync(file, `db.example ${key}\n[fd00::7]:2222 ${key}\n`)
    execFileSync("ssh-keygen", ["-q", "-H", "-f", file], { stdio: "ignore" })
    const hashed = readFileSync(file, "utf8")
    rmSync(directory, { recursive: true })
    assert.notInclude(hashed, "db.example")
    assert.strictEqual(why(hashed, at("DB.example")), "accepted")
    assert.strictEqual(why(hashed, at("fd00::7", 2222)), "accepted")
    assert.strictEqual(why(hashed, at("web.example")), "unknown")
  })

  it("a refusal names line, fingerprints and remedy", () => {
    const invalid = refusal(trust(`db.example ${key}\nrubbish`), at("db.example"), one.publicBytes)
    assert.include(invalid?.message, "line 2 of knownHosts")
    const unknown = refusal(trust(""), at("db.example", 2222), one.publicBytes)
    assert.include(unknown?.message, "ssh-keyscan -p 2222 db.example")
    const changed = refusal(trust(`db.example ${other}`), at("db.example"), one.publicBytes)
    assert.include(changed?.message, fingerprint(one.publicBytes))
    assert.include(changed?.message, fingerprint(two.publicBytes))
  })

  it("the types that a host is known by are asked for first", () => {
    assert.deepStrictEqual(knownTypes(trust(`db.example ${key}`), at("db.example")), ["ssh-ed25519"])
    assert.deepStrictEqual(knownTypes(trust(`db.example ${key}`), at("web.example")), [])
    assert.deepStrictEqual(knownTypes({ pins: [{ type: "ssh-rsa", fingerprint: "x" }] }, at("a")), ["ssh-rsa"])
  })
})

describe("pins", () => {
  const print = fingerprint(one.publicBytes)

  it("are fingerprints or public keys, one a line or with commas between", () => {
    const read = (text: string) => Result.getOrThrow(parsePins(text))
    assert.deepStrictEqual(read(print), [{ fingerprint: print }])
    assert.deepStrictEqual(read(`ssh-ed25519 ${print}`), [{ type: "ssh-ed25519", fingerprint: print }])
    assert.deepStrictEqual(read(`${key} root@db`), [{ type: "ssh-ed25519", fingerprint: print }])
    assert.deepStrictEqual(read(`${print}, ${other}\n`), [{ fingerprint: print }, pinOf(two.publicBytes)])
    assert.deepStrictEqual(read(" \n"), [])
    assert.deepStrictEqual(read(pinText(pinOf(one.publicBytes))), [pinOf(one.publicBytes)])
  })

  it("anything else is told", () => {
    for (const text of ["SHA256:abc", "MD5:00:11", "yes", `ssh-rsa ${key.split(" ")[1]}`])
      assert.deepStrictEqual(parsePins(text), Result.fail(text))
  })

  it("have to agree with what known_hosts says of the host, if it says anything; with neither any key is accepted", () => {
    const pins = [{ fingerprint: print }]
    const both = (knownHosts: string) => refusal({ pins, knownHosts }, at("db.example"), one.publicBytes)?.why
    assert.isUndefined(both(`web.example ${other}`))
    assert.isUndefined(both(`db.example ${key}`))
    assert.strictEqual(both(`db.example ${other}`), "changed")
    assert.strictEqual(both("rubbish"), "invalid")
    assert.strictEqual(
      refusal({ pins, knownHosts: `@revoked * ${key}` }, at("db.example"), one.publicBytes)?.why,
      "revoked"
    )
    assert.strictEqual(refusal({ pins }, at("db.example"), two.publicBytes)?.why, "changed")
    assert.isUndefined(refusal(firstUse, at("db.example"), two.publicBytes))
  })
})
