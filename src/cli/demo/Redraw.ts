/**
 * Owns drawing one frame over the last on a terminal. Does not own frames (Screen.ts) nor when they are drawn (Show.ts).
 */
import { createLogUpdate } from "log-update"

export interface Redraw {
  readonly draw: (frame: string) => void
  /** The last frame stays. */
  readonly done: () => void
}

/**
 * log-update writes only what differs between two frames, and leaves the lines below where they were: a frame of another
 * height would be drawn through the old one. So that one is taken away first.
 */
export const redraw = (stream: NodeJS.WriteStream): Redraw => {
  const update = createLogUpdate(stream)
  let height: number | undefined
  return {
    draw: (frame) => {
      const lines = frame.split("\n").length
      if (height !== undefined && height !== lines) update.clear()
      height = lines
      update(frame)
    },
    done: () => {
      update.done()
      height = undefined
    }
  }
}
