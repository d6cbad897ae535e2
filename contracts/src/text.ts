import { z } from 'zod'

type Length = { min?: number; max: number }

/** Every character but the control characters that are neither a tab nor a line break. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it refuses
const withoutControls = /^[^\u0000-\u0008\u000b\u000c\u000e-\u001f]*$/

/**
 * Text that libraries wrote. Its length counts characters as JSON Schema and Python do (an emoji is
 * one), and half a surrogate pair, which no UTF-8 can hold, is refused.
 */
export function text(length: Length) {
  return measured(z.string(), length)
}

/** Text that a caller wrote: without control characters, each of which takes six bytes of a record. */
export function callersText(length: Length) {
  return measured(z.string().regex(withoutControls, 'no control characters'), length)
}

function measured(string: z.ZodString, { min = 0, max }: Length) {
  const says = min > 0 ? `${min} to ${max} characters` : `at most ${max} characters`
  const fits = (value: string) => {
    const { length } = [...value]
    return length >= min && length <= max
  }
  return string
    .refine(fits, says)
    .refine((value) => value.isWellFormed(), 'not valid Unicode')
    .meta({ ...(min > 0 ? { minLength: min } : {}), maxLength: max })
}
