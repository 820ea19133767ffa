import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { HostRuns } from "../../src/hosts/HostRuns.ts"
import { layer } from "../../src/hosts/LiveHostRuns.ts"
import { daemon, runOf, step, success } from "../conformance/hosts/World.ts"
import { makeShellHost } from "../conformance/hosts.ts"
import { makeLocalHost } from "./LocalShell.ts"

Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const h = yield* makeLocalHost({ shell: "busybox" })
      const host = yield* makeShellHost({ ssh: h.ssh, access: { target: h.target, useSudo: false }, sh: h.sh })
      const runs = Context.get(yield* Layer.build(layer.pipe(Layer.provide(h.layer))), HostRuns)
      const st = step(host, "one", ...daemon(host, `${host.dir}/agent`))
      console.log(st.script)
      yield* Stream.runForEach(runs.run(host.access, runOf([st, success(host)])), (e) =>
        Effect.sync(() => console.log(e))
      )
      console.log(
        (yield* h.sh("cat /var/lib/machinist/runs/*/out/*/*; ps; ls -l /srv/conformance; cat /proc/[0-9]*/comm"))
          .stdout,
        yield* host.running("agent")
      )
    })
  )
).catch((e) => console.log(String(e), e))
