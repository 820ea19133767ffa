/**
 * Owns how long ago something was, in the words of `kubectl get`: two units at most, coarser with age.
 */

const SECONDS_A_MINUTE = 60
const SECONDS_AN_HOUR = 3600
const HOURS_A_DAY = 24
const DAYS_A_YEAR = 365

const two = (large: number, largeUnit: string, small: number, smallUnit: string): string =>
  small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`

/** client-go's HumanDuration. Clocks that differ by up to two seconds are forgiven. */
export const humanDuration = (millis: number): string => {
  const seconds = Math.trunc(millis / 1000)
  if (seconds < -1) return "<invalid>"
  if (seconds < 0) return "0s"
  if (seconds < 2 * SECONDS_A_MINUTE) return `${seconds}s`
  const minutes = Math.trunc(seconds / SECONDS_A_MINUTE)
  if (minutes < 10) return two(minutes, "m", seconds % SECONDS_A_MINUTE, "s")
  if (minutes < 180) return `${minutes}m`
  const hours = Math.trunc(seconds / SECONDS_AN_HOUR)
  if (hours < 8) return two(hours, "h", minutes % 60, "m")
  if (hours < 48) return `${hours}h`
  const days = Math.trunc(hours / HOURS_A_DAY)
  if (days < 8) return two(days, "d", hours % HOURS_A_DAY, "h")
  if (days < 2 * DAYS_A_YEAR) return `${days}d`
  const years = Math.trunc(days / DAYS_A_YEAR)
  return years < 8 ? two(years, "y", days % DAYS_A_YEAR, "d") : `${years}y`
}

/** Of an RFC 3339 time, from now. */
export const sinceText = (time: string | undefined, nowMillis: number): string => {
  if (time === undefined || time === "") return "<unknown>"
  const then = Date.parse(time)
  return Number.isNaN(then) ? "<invalid>" : humanDuration(nowMillis - then)
}
