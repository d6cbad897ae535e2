import { z } from 'zod'

type Length = { min?: number; max: number }

/** No control characters other than tabs and line breaks. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it refuses
const withoutControls = /^[^\u0000-\u0008\u000b\u000c\u000e-\u001f]*$/

/**
 * Text from libraries. Its length counts code points, as JSON Schema and Python do, so an emoji is one.
 * A lone surrogate is refused, because UTF-8 cannot encode it.
 */
export function text(length: Length) {
  return measured(z.string(), length)
}

/** Text from a caller. Control characters are refused: JSON needs six bytes for each in a record. */
export function callersText(length: Length) {
  return measured(z.string().regex(withoutControls, 'no control characters'), length)
}

function measured(string: z.ZodString, { min = 0, max }: Length) {
  const message = min > 0 ? `${min} to ${max} characters` : `at most ${max} characters`
  const fits = (value: string) => {
    const { length } = [...value]
    return length >= min && length <= max
  }
  return string
    .refine(fits, message)
    .refine((value) => value.isWellFormed(), 'not valid Unicode')
    .meta({ ...(min > 0 ? { minLength: min } : {}), maxLength: max })
}
