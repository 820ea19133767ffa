/**
 * Holds: templates of bootstrap data come out as cloud-init's jinja renders them (the expectations are what it said; the
 * live suite asks it again), what is missing is refused by name, and a template can neither reach this process nor
 * occupy it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { instanceData } from "../../src/domain/bootstrap/HostFacts.ts"
import { renderJinja } from "../../src/domain/bootstrap/Jinja.ts"
import { DATA, RENDERED } from "./jinjaCases.ts"

const failure = (template: string): string => {
  const rendered = renderJinja(template, DATA, 2)
  return Result.isFailure(rendered) ? rendered.failure.message : assert.fail(`rendered: ${rendered.success}`)
}

describe("renderJinja", () => {
  for (const [template, expected] of RENDERED)
    it(JSON.stringify(template), () => assert.deepStrictEqual(renderJinja(template, DATA, 2), Result.succeed(expected)))

  it("what is missing is named, with its line, instead of CI_MISSING_JINJA_VAR", () => {
    assert.include(
      failure("a\n{{ v1.local_hostname }} {{ v1.nope }}"),
      "near line 3: v1.nope is not known of this host"
    )
    assert.include(failure("{{ v1.a.b.c }}"), "v1.a.b.c")
    // An expression may hold a secret: only a mere name is told.
    assert.notInclude(failure("{{ v1.nope or v1['s3cret'] }}"), "s3cret")
  })
  it("what can't be understood, printed or done is refused without a word of it", () => {
    for (const template of [
      "{{ s3cret( }}",
      "{% if s3cret %}",
      "{{ v1.local_hostname | s3cret }}",
      "{{ v1 }}",
      "{{ 's3cret' * 3 }}",
      "{% include 's3cret' %}",
      "x {# s3cret"
    ]) {
      assert.match(failure(template), /^bootstrap data: the jinja template fails near line 2: /)
      assert.notInclude(failure(template), "s3cret")
    }
  })
  it("a template reaches nothing of JavaScript", () => {
    for (const template of [
      "{{ ''.constructor.constructor('return process')() }}",
      "{{ v1.__proto__ }}",
      "{{ v1.local_hostname.constructor }}",
      "{{ ([]).constructor }}",
      "{{ machinist_at.constructor('return 1')() }}"
    ])
      failure(template)
  })
  it("a template that loops, or grows, is stopped", () => {
    const list = `[${"1,".repeat(400)}1]`
    const loop = `{% for a in ${list} %}{% for b in ${list} %}{% for c in ${list} %}{{ a }}{% endfor %}{% endfor %}{% endfor %}`
    assert.include(failure(loop), "steps")
    assert.include(failure(`{% set a = '${"x".repeat(64)}' %}${"{% set a = a ~ a %}".repeat(40)}{{ a }}`), "characters")
    assert.include(failure(`{{ ${"(".repeat(20_000)}1${")".repeat(20_000)} }}`), "fails near line 2")
  })
})

describe("instanceData", () => {
  it("standard keys stand below v1 and at the top; the address is what it is; the unknown is absent", () => {
    const facts = { hostname: "n1", distro: "debian" }
    const data = instanceData({ facts, id: "claim-1", name: "m1", address: "fd00::1", zone: "z1" })
    assert.deepStrictEqual(data["ds"], {
      meta_data: {
        availability_zone: "z1",
        hostname: "n1",
        instance_id: "claim-1",
        local_hostname: "n1",
        local_ipv6: "fd00::1",
        name: "m1"
      }
    })
    assert.strictEqual(data["local_hostname"], "n1")
    assert.strictEqual(data["availability_zone"], "z1")
    assert.isFalse("distro_version" in data)
    const dns = instanceData({ facts, id: "c", name: "m", address: "n1.example.org" })
    assert.deepStrictEqual(dns["ds"], {
      meta_data: { hostname: "n1", instance_id: "c", local_hostname: "n1", name: "m" }
    })
  })
})
