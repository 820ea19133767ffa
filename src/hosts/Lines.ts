/**
 * Owns cutting the bytes of an exec's stdout into lines of bounded length. Pure. What a line means is WireEvent.ts's.
 */

/** The driver's own lines are below 1 KiB; what is longer is somebody's banner, and dropped. */
export const MAX_LINE_BYTES = 16 * 1024

const NEWLINE = 10

export class LineCutter {
  private pending: Array<Uint8Array> = []
  private size = 0
  private readonly decoder = new TextDecoder()

  /** The lines that `bytes` completes. */
  push(bytes: Uint8Array): ReadonlyArray<string> {
    const lines: Array<string> = []
    let from = 0
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, from)) {
      this.keep(bytes.subarray(from, at))
      const line = this.take()
      if (line !== undefined) lines.push(line)
      from = at + 1
    }
    this.keep(bytes.subarray(from))
    return lines
  }

  /** Past the bound only the length is kept: the line is lost, memory is not. */
  private keep(bytes: Uint8Array): void {
    this.size += bytes.length
    if (this.size > MAX_LINE_BYTES) this.pending = []
    else if (bytes.length > 0) this.pending.push(bytes.slice())
  }

  private take(): string | undefined {
    const line = this.size > MAX_LINE_BYTES ? undefined : this.decoder.decode(Buffer.concat(this.pending))
    this.pending = []
    this.size = 0
    return line
  }
}
