/**
 * Owns cutting a text that is too long for where it goes: in its middle, because a message begins with what and where,
 * and the last words of what failed are the ones that say why. Pure.
 */

const GAP = " … "

const isHalf = (code: number, from: number): boolean => code >= from && code < from + 0x400

/** At most `limit` UTF-16 code units; half a surrogate pair would not be UTF-8, and the API server would refuse it. */
export const shortened = (text: string, limit: number): string => {
  if (text.length <= limit) return text
  const room = limit - GAP.length
  const head = Math.ceil(room / 3)
  const start = isHalf(text.charCodeAt(head - 1), 0xd800) ? head - 1 : head
  const from = text.length - (room - head)
  const end = isHalf(text.charCodeAt(from), 0xdc00) ? from + 1 : from
  return `${text.slice(0, start)}${GAP}${text.slice(end)}`
}
