import { redacted, secretShapes } from '@avatar/contracts'

const shapes = secretShapes.map(({ hints, pattern, ignoresCase, replacement }) => ({
  ...{ hints, replacement },
  pattern: new RegExp(pattern, ignoresCase ? 'gi' : 'g'),
}))
/** A look for these costs a tenth of trying the patterns, and most lines hold none. */
const allHints = [...new Set(shapes.flatMap(({ hints }) => hints))]

/** A shorter value would be found in ordinary words, and hide them. */
const leastCharacters = 8
/** Every form of each value that this process was given, the longest first. */
let knownForms: readonly string[] = []

/**
 * From here on the value is hidden wherever it stands, in whatever shape: as it is, escaped for JSON,
 * URL-encoded, or in base64, alone or within a longer text. Values under 8 characters are left to the shapes.
 */
export function hideValue(value: string): void {
  if (value.length < leastCharacters) return
  const forms = [value, JSON.stringify(value).slice(1, -1), urlEncoded(value), ...base64(value)]
  knownForms = [...new Set([...knownForms, ...forms])].toSorted((a, b) => b.length - a.length)
}

/**
 * The text without secrets: first the values that this process was given, then everything that looks like
 * a credential. JSON stays valid. The last line of defence, not the first.
 */
export function scrubSecrets(text: string): string {
  let scrubbed = text
  for (const form of knownForms)
    if (scrubbed.includes(form)) scrubbed = scrubbed.replaceAll(form, redacted)
  const lower = scrubbed.toLowerCase()
  const found = allHints.filter((hint) => lower.includes(hint))
  for (const { hints, pattern, replacement } of shapes) {
    if (hints.length > 0 && !hints.some((hint) => found.includes(hint))) continue
    scrubbed = scrubbed.replace(pattern, replacement)
  }
  return scrubbed
}

/** The same for whatever JSON can hold. */
export function scrubDetails(
  details: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  return JSON.parse(scrubSecrets(JSON.stringify(details)))
}

/** A lone surrogate cannot be encoded. */
function urlEncoded(value: string): string {
  return encodeURIComponent(value.toWellFormed())
}

/**
 * What base64 of any text with this value in it contains: its digits for each of the three places at which
 * the value can begin, without those that depend on its neighbours.
 */
function base64(value: string): string[] {
  const bytes = Buffer.from(value)
  return [0, 1, 2].flatMap((before) => {
    const digits = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64')
    const whole = Math.floor(((before + bytes.length) * 8) / 6)
    const own = digits.slice(Math.ceil((before * 8) / 6), whole)
    return [own, own.replaceAll('+', '-').replaceAll('/', '_')]
  })
}
