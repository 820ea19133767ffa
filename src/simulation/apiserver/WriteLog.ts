/**
 * Owns the bounded record of who asked the simulated server to write what, and what came of it: what tests count API
 * writes by. Does not own the objects, nor reads.
 */
import type { StatusReason } from "./Status.ts"

export type WriteVerb = "create" | "update" | "patch" | "delete"

export interface WriteRecord {
  readonly timeMillis: number
  /** The name of the client that asked; the server's own controllers have names too. */
  readonly client: string
  readonly verb: WriteVerb
  readonly subresource: "status" | undefined
  readonly group: string
  readonly kind: string
  readonly namespace: string | undefined
  readonly name: string
  readonly uid: string | undefined
  /** The store's revision after the request. */
  readonly revision: number
  /** `unchanged`: carried out, but nothing differed, so nothing was stored; `refused`: see `reason`. */
  readonly outcome: "changed" | "unchanged" | "refused"
  readonly reason?: StatusReason
}

export class WriteLog {
  readonly #capacity: number
  #records: Array<WriteRecord> = []
  #dropped = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  add(record: WriteRecord): void {
    this.#records.push(record)
    // Trimmed by halves, so that the cost of a write stays constant on average.
    if (this.#records.length > this.#capacity * 2) {
      this.#dropped += this.#records.length - this.#capacity
      this.#records = this.#records.slice(-this.#capacity)
    }
  }

  /** Oldest first. */
  records(): ReadonlyArray<WriteRecord> {
    return this.#records.slice(-this.#capacity)
  }

  /** All requests ever recorded, kept or not. */
  get total(): number {
    return this.#dropped + this.#records.length
  }

  clear(): void {
    this.#dropped += this.#records.length
    this.#records = []
  }
}
