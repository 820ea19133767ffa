/**
 * Owns talking to a simulated host without the host layer: one request, its events. For tests of the host itself.
 */

import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { execOf } from "../../../src/hosts/driver/Exec.ts"
import type { HostEvent, Request } from "../../../src/hosts/Protocol.ts"
import { decodeEvent } from "../../../src/hosts/WireEvent.ts"
import { SIMULATED_KEY } from "../../../src/simulation/hosts/Accounts.ts"
import { firstUse } from "../../../src/ssh/HostKeys.ts"
import type { SshClientShape, SshTarget } from "../../../src/ssh/SshClient.ts"
import type { SshError } from "../../../src/ssh/SshError.ts"

export const targetOf = (address: string, privateKey = SIMULATED_KEY, user = "root"): SshTarget => ({
  address,
  port: 22,
  user,
  privateKey: Redacted.make(privateKey),
  hostKeys: firstUse
})

/** Every event of one exec, to its end. */
export const speak = (
  client: SshClientShape,
  target: SshTarget,
  request: Request
): Effect.Effect<ReadonlyArray<HostEvent>, SshError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const session = yield* client.connect(target)
      const { command, stdin } = Result.getOrThrow(execOf(request, false))
      const process = yield* session.exec(command, stdin)
      const lines = yield* process.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runCollect)
      return lines.flatMap((line) => decodeEvent(line) ?? [])
    })
  )

/** Second by second: what a fiber begins to wait for only after the clock has moved is waited for from then on. */
export const seconds = (count: number) => Effect.repeat(TestClock.adjust("1 second"), { times: count - 1 })
