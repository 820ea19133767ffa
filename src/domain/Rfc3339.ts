/**
 * Owns how an instant is written on Kubernetes objects: RFC 3339, UTC, whole seconds, as metav1.Time wants it.
 * Owns no clock: callers pass milliseconds from effect's Clock.
 */
import * as DateTime from "effect/DateTime"

/** `2026-11-21T07:23:00Z`: the fraction is cut, never rounded up into the future. */
export const rfc3339 = (epochMillis: number): string =>
  DateTime.formatIso(DateTime.makeUnsafe(Math.floor(epochMillis / 1000) * 1000)).replace(/\.\d+Z$/, "Z")
