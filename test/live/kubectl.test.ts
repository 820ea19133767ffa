/**
 * Real kubectl against the simulated API server: a session of what people do, each output as they would see it from any
 * cluster. Expectations were compared with kube-apiserver v1.34's.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { binaries, type Outcome, type World, world } from "./kubectl/Kubectl.ts"

const WIDGET = `apiVersion: example.com/v1
kind: Widget
metadata: {name: one, labels: {app: x}}
spec: {size: 4, replicas: 2, tags: {a: b}, parts: [{name: p}]}
`
const PLAIN = `apiVersion: v1
kind: ConfigMap
metadata: {name: cm, labels: {app: x}}
data: {a: "1", b: "2"}
---
apiVersion: v1
kind: Secret
metadata: {name: sec, labels: {app: x}}
stringData: {k: v}
`

/** Succeeded, with this output. */
const says = (outcome: Outcome, ...parts: ReadonlyArray<string>) => {
  assert.strictEqual(outcome.code, 0, `${outcome.stdout}\n${outcome.stderr}`)
  for (const part of parts) assert.include(outcome.stdout, part)
}
const refuses = (outcome: Outcome, ...parts: ReadonlyArray<string>) => {
  assert.notStrictEqual(outcome.code, 0, outcome.stdout)
  for (const part of parts) assert.include(outcome.stderr, part)
}

type Body = (world: World) => Effect.Effect<void, unknown, Scope.Scope>

for (const { title, path, available } of binaries) {
  describe.skipIf(!available)(`${title} against the simulated API server`, () => {
    const binary = available ? path() : undefined
    const session = (name: string, body: Body) =>
      it.live(name, () =>
        Effect.scoped(
          Effect.gen(function* () {
            const made = yield* world(binary ?? assert.fail("it could not be built"))
            made.write("w.yaml", WIDGET)
            made.write("plain.yaml", PLAIN)
            yield* body(made)
          })
        )
      )

    session("what there is: api-resources, versions, explain", ({ kubectl }) =>
      Effect.gen(function* () {
        const resources = yield* kubectl("api-resources")
        says(resources, "remotemachines", "machinedeployments", "configmaps")
        assert.match(resources.stdout, /^widgets +wd +example\.com\/v1 +true +Widget$/m)
        says(
          yield* kubectl("api-resources", "--categories=cluster-api", "-o", "name"),
          "remotemachines.infrastructure.cluster.x-k8s.io"
        )
        says(yield* kubectl("api-versions"), "example.com/v1", "infrastructure.cluster.x-k8s.io/v1beta1")
        says(yield* kubectl("version"), "Server Version: v1.34.4+machinist")
        says(yield* kubectl("cluster-info"), "Kubernetes control plane")
        says(yield* kubectl("auth", "can-i", "delete", "remotemachines"), "yes")
        says(yield* kubectl("auth", "whoami"), "admin")
        says(
          yield* kubectl("explain", "wd"),
          "KIND:       Widget",
          "Widget is a thing.",
          "spec\t<Object>",
          "What it should be."
        )
        says(
          yield* kubectl("explain", "wd.spec.parts", "--recursive"),
          "FIELD: parts <[]Object>",
          "name\t<string> -required-"
        )
        says(
          yield* kubectl("explain", "remotemachine.spec.sshKeyRef"),
          "GROUP:      infrastructure.cluster.x-k8s.io",
          "FIELD: sshKeyRef <Object>"
        )
        says(
          yield* kubectl("explain", "configmap.data"),
          "FIELD: data <map[string]string>",
          "Data contains the configuration data."
        )
        refuses(yield* kubectl("explain", "wd.spec.nope"), 'field "nope" does not exist')
      })
    )

    session("apply from the client's side, get in every form, describe", ({ kubectl }) =>
      Effect.gen(function* () {
        says(
          yield* kubectl("apply", "-f", "w.yaml", "-f", "plain.yaml"),
          "widget.example.com/one created",
          "configmap/cm created",
          "secret/sec created"
        )
        says(
          yield* kubectl("apply", "-f", "w.yaml", "-f", "plain.yaml"),
          "widget.example.com/one unchanged",
          "configmap/cm unchanged"
        )
        assert.match((yield* kubectl("get", "wd")).stdout, /^NAME +SIZE +READY +AGE\none +4 +\d+s\n$/)
        assert.match((yield* kubectl("get", "wd", "-o", "wide")).stdout, /AGE +TAGS\none .*\{"a":"b"\}\n$/)
        assert.match(
          (yield* kubectl("get", "cm,secret")).stdout,
          /configmap\/cm +2 +\d+s[\s\S]*secret\/sec +Opaque +1 +\d+s/
        )
        assert.match((yield* kubectl("get", "nodes,leases,events,crd", "--all-namespaces")).stdout, /CREATED AT/)
        says(yield* kubectl("get", "wd", "one", "-o", "yaml"), "  size: 4\n", "    app: x\n")
        says(
          yield* kubectl("get", "wd", "one", "-o", "yaml", "--show-managed-fields"),
          "manager: kubectl-client-side-apply",
          "f:size: {}"
        )
        assert.strictEqual((yield* kubectl("get", "wd", "-o", "jsonpath={.items[*].spec.size}")).stdout, "4")
        assert.strictEqual(
          (yield* kubectl("get", "wd", "-l", "app=x", "-o", "name")).stdout,
          "widget.example.com/one\n"
        )
        assert.strictEqual((yield* kubectl("get", "wd", "--field-selector=metadata.name=two", "-o", "name")).stdout, "")
        says(yield* kubectl("get", "wd,cm,secret", "-o", "json", "--chunk-size=1"), '"kind": "List"')
        says(yield* kubectl("get", "wd", "-A", "--sort-by=.spec.size"), "demo        one")
        refuses(
          yield* kubectl("get", "wd", "nothing"),
          'Error from server (NotFound): widgets.example.com "nothing" not found'
        )
        refuses(yield* kubectl("get", "nothings"), `the server doesn't have a resource type "nothings"`)
        says(yield* kubectl("describe", "wd", "one"), "Name:         one", "  Size:      4", "Events:  <none>")
        says(yield* kubectl("describe", "secret", "sec"), "k:  1 bytes")
        says(yield* kubectl("describe", "namespace", "demo"), "Status:       Active")
      })
    )

    session("diff and both ways of apply; conflicts tell what to do", ({ kubectl, write }) =>
      Effect.gen(function* () {
        yield* kubectl("apply", "-f", "w.yaml", "-f", "plain.yaml")
        write("w.yaml", WIDGET.replace("size: 4", "size: 5"))
        write("plain.yaml", PLAIN.replace('a: "1"', 'a: "3"'))
        for (const way of [[], ["--server-side"]]) {
          const diff = yield* kubectl("diff", ...way, "-f", "w.yaml", "-f", "plain.yaml")
          assert.strictEqual(diff.code, 1, diff.stderr)
          for (const line of ["-  size: 4", "+  size: 5", '-  a: "1"', '+  a: "3"']) assert.include(diff.stdout, line)
        }
        says(
          yield* kubectl("apply", "-f", "w.yaml", "-f", "plain.yaml"),
          "widget.example.com/one configured",
          "configmap/cm configured"
        )
        says(
          yield* kubectl("apply", "--server-side", "-f", "w.yaml", "-f", "plain.yaml"),
          "widget.example.com/one serverside-applied",
          "secret/sec serverside-applied"
        )
        assert.strictEqual((yield* kubectl("diff", "-f", "w.yaml", "-f", "plain.yaml")).code, 0)
        says(yield* kubectl("apply", "--server-side", "--field-manager=other", "-f", "w.yaml"), "serverside-applied")
        write("w.yaml", WIDGET.replace("size: 4", "size: 6"))
        const contested = yield* kubectl("apply", "--server-side", "--field-manager=other", "-f", "w.yaml")
        refuses(contested, 'Apply failed with 1 conflict: conflict with "kubectl": .spec.size', "--force-conflicts")
        says(
          yield* kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "w.yaml"),
          "serverside-applied"
        )
        assert.strictEqual((yield* kubectl("get", "wd", "one", "-o", "jsonpath={.spec.size}")).stdout, "6")
      })
    )

    session("patch, label, annotate, edit, scale, create, replace", ({ kubectl, write }) =>
      Effect.gen(function* () {
        yield* kubectl("apply", "-f", "w.yaml", "-f", "plain.yaml")
        says(
          yield* kubectl("patch", "wd", "one", "--type=merge", "-p", '{"spec":{"size":7}}'),
          "widget.example.com/one patched"
        )
        says(
          yield* kubectl("patch", "wd", "one", "--type=json", "-p", '[{"op":"replace","path":"/spec/size","value":8}]'),
          "patched"
        )
        refuses(
          yield* kubectl("patch", "wd", "one", "-p", '{"spec":{"size":7}}'),
          "application/strategic-merge-patch+json is not supported"
        )
        says(yield* kubectl("patch", "cm", "cm", "-p", '{"data":{"c":"9"}}'), "configmap/cm patched")
        says(
          yield* kubectl(
            "patch",
            "wd",
            "one",
            "--subresource=status",
            "--type=merge",
            "-p",
            '{"status":{"replicas":1}}'
          ),
          "patched"
        )
        refuses(
          yield* kubectl("patch", "wd", "one", "--type=merge", "-p", '{"spec":{"size":77}}'),
          'The Widget "one" is invalid: spec.size: Invalid value: 77: spec.size in body should be less than or equal to 10'
        )
        const bogus = yield* kubectl("patch", "wd", "one", "--type=merge", "-p", '{"spec":{"bogus":7}}')
        says(bogus, "patched (no change)")
        assert.include(bogus.stderr, 'Warning: unknown field "spec.bogus"')
        says(yield* kubectl("label", "wd", "one", "tier=gold"), "labeled")
        refuses(yield* kubectl("label", "cm", "cm", "app=y"), "--overwrite is false")
        says(yield* kubectl("annotate", "wd", "one", "note=hello"), "annotated")
        says(yield* kubectl("annotate", "wd", "one", "note-"), "annotated")
        write("editor", `#!/bin/sh\nsed -i 's/size: [0-9]*/size: 9/; s/c: "9"/c: "10"/' "$1"\n`)
        says(yield* kubectl("edit", "wd", "one"), "widget.example.com/one edited")
        says(yield* kubectl("edit", "cm", "cm"), "configmap/cm edited")
        const unchanged = yield* kubectl("edit", "wd", "one")
        assert.include(unchanged.stdout + unchanged.stderr, "Edit cancelled, no changes made.")
        says(yield* kubectl("scale", "wd", "one", "--replicas=5"), "widget.example.com/one scaled")
        assert.strictEqual(
          (yield* kubectl("get", "wd", "one", "-o", "jsonpath={.spec.size} {.spec.replicas} {.metadata.labels.tier}"))
            .stdout,
          "9 5 gold"
        )
        says(yield* kubectl("create", "namespace", "more"), "namespace/more created")
        says(
          yield* kubectl(
            "create",
            "secret",
            "generic",
            "key",
            "--from-literal=value=k",
            "--type=cluster.x-k8s.io/secret"
          ),
          "secret/key created"
        )
        says(
          yield* kubectl("get", "secret", "key", "-o", "jsonpath={.data.value} {.type}"),
          "aw== cluster.x-k8s.io/secret"
        )
        says(
          yield* kubectl("create", "configmap", "dry", "--from-literal=a=b", "--dry-run=server", "-o", "yaml"),
          "  a: b"
        )
        refuses(yield* kubectl("get", "configmap", "dry"), "NotFound")
        refuses(
          yield* kubectl("create", "-f", "w.yaml"),
          '(AlreadyExists): error when creating "w.yaml": widgets.example.com "one" already exists'
        )
        says(yield* kubectl("replace", "-f", "w.yaml"), "widget.example.com/one replaced")
      })
    )

    session("mistakes are told before anything is stored", ({ kubectl, kubectlWith }) =>
      Effect.gen(function* () {
        const bad = (spec: string) => `apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: bad}\nspec: ${spec}\n`
        refuses(
          yield* kubectlWith(bad("{size: 4, bogus: 1}"), "apply", "-f", "-"),
          'strict decoding error: unknown field "spec.bogus"'
        )
        refuses(
          yield* kubectlWith(bad("{size: 40, mode: slow, bogus: 1}"), "apply", "--validate=ignore", "-f", "-"),
          'The Widget "bad" is invalid:',
          "spec.size: Invalid value: 40",
          'spec.mode: Unsupported value: "slow": supported values: "fast", "safe"'
        )
        refuses(
          yield* kubectlWith(bad("{}").replace("Widget", "Wodget"), "apply", "-f", "-"),
          'no matches for kind "Wodget"'
        )
        refuses(yield* kubectlWith(PLAIN, "apply", "--namespace=nope", "-f", "-"), 'namespaces "nope" not found')
        assert.strictEqual((yield* kubectl("get", "wd", "-o", "name")).stdout, "")
      })
    )

    session("wait and watch see what happens", ({ ask, kubectl, running }) =>
      Effect.gen(function* () {
        yield* kubectl("apply", "-f", "w.yaml")
        const ready = (status: string) =>
          ask("/apis/example.com/v1/namespaces/demo/widgets/one/status", {
            method: "PATCH",
            contentType: "application/merge-patch+json",
            body: { status: { conditions: [{ type: "Ready", status }] } }
          })
        const watching = running("get", "wd", "-w")
        let seen = ""
        watching.stdout?.on("data", (data: Buffer) => {
          seen += data.toString("utf8")
        })
        const until = (pattern: RegExp) =>
          Effect.gen(function* () {
            while (!pattern.test(seen)) yield* Effect.sleep("20 millis")
          }).pipe(Effect.timeout("30 seconds"))
        yield* until(/^NAME +SIZE +READY +AGE\none/)
        yield* ready("False")
        yield* until(/\none +4 +False /)
        const waiting = yield* Effect.forkScoped(kubectl("wait", "--for=condition=Ready", "wd/one", "--timeout=30s"))
        yield* ready("True")
        yield* until(/\none +4 +True /)
        says(yield* Fiber.join(waiting), "widget.example.com/one condition met")
        assert.strictEqual(seen.match(/NAME/g)?.length, 1)
        says(yield* kubectl("wait", "--for=jsonpath={.spec.size}=4", "wd/one", "--timeout=30s"), "condition met")
        refuses(
          yield* kubectl("wait", "--for=condition=Nope", "wd/one", "--timeout=1s"),
          "timed out waiting for the condition on widgets/one"
        )
      })
    )

    session("events, as get, events and describe show them", ({ ask, kubectl }) =>
      Effect.gen(function* () {
        yield* kubectl("apply", "-f", "w.yaml")
        const uid = (yield* ask("/apis/example.com/v1/namespaces/demo/widgets/one")).body.metadata.uid
        const now = (yield* ask("/apis/example.com/v1/namespaces/demo/widgets/one")).body.metadata.creationTimestamp
        yield* ask("/api/v1/namespaces/demo/events", {
          body: {
            metadata: { name: "one.1" },
            involvedObject: { apiVersion: "example.com/v1", kind: "Widget", name: "one", namespace: "demo", uid },
            type: "Warning",
            reason: "Broke",
            message: "it broke",
            source: { component: "test" },
            firstTimestamp: now,
            lastTimestamp: now,
            count: 1
          }
        })
        assert.match(
          (yield* kubectl("get", "events")).stdout,
          /LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n\d+s +Warning +Broke +widget\/one +it broke/
        )
        says(yield* kubectl("events", "--for=widget/one"), "Broke")
        assert.match((yield* kubectl("describe", "wd", "one")).stdout, /Warning +Broke +\d+s +test +it broke/)
      })
    )

    session("deletion: dry, not waited for, waited for, of a namespace", ({ kubectl, server }) =>
      Effect.gen(function* () {
        yield* kubectl("apply", "-f", "w.yaml", "-f", "plain.yaml")
        says(yield* kubectl("delete", "wd", "one", "--dry-run=server"), "deleted")
        says(yield* kubectl("delete", "cm", "cm", "--wait=false"), 'configmap "cm" deleted')
        yield* kubectl("patch", "wd", "one", "--type=merge", "-p", '{"metadata":{"finalizers":["a.b/c"]}}')
        const deleting = yield* Effect.forkScoped(kubectl("delete", "wd", "one"))
        const widget = () => server.snapshot().objects.find(({ object }) => object.kind === "Widget")?.object.metadata
        while (widget()?.deletionTimestamp === undefined) yield* Effect.sleep("20 millis")
        says(yield* kubectl("patch", "wd", "one", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'), "patched")
        says(yield* Fiber.join(deleting), 'widget.example.com "one" deleted')
        refuses(
          yield* kubectl("delete", "wd", "one"),
          'Error from server (NotFound): widgets.example.com "one" not found'
        )
        says(yield* kubectl("delete", "wd", "one", "--ignore-not-found"))
        says(yield* kubectl("delete", "secret", "--all"), 'secret "sec" deleted')
        yield* kubectl("apply", "-f", "plain.yaml")
        says(yield* kubectl("delete", "namespace", "demo"), 'namespace "demo" deleted')
        refuses(yield* kubectl("get", "namespace", "demo"), "NotFound")
        refuses(yield* kubectl("delete", "namespace", "default"), "this namespace may not be deleted")
      })
    )
  })
}
