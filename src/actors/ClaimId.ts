/**
 * Owns how a claim gets its id. Not what a claim is (domain/Claim.ts), nor when one is made (PoolAllocator.ts).
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

const CLAIM_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
/** 20 characters of 36: about 103 bits. */
const CLAIM_ID_LENGTH = 20

export const newClaimId: Effect.Effect<string> = Effect.gen(function* () {
  let id = ""
  for (let index = 0; index < CLAIM_ID_LENGTH; index++)
    id += CLAIM_ID_ALPHABET[yield* Random.nextIntBetween(0, CLAIM_ID_ALPHABET.length, { halfOpen: true })] ?? ""
  return id
})
