import { InvalidArgumentError } from 'commander'

/** A seed on the command line. @throws InvalidArgumentError for what is none */
export function parseSeed(text: string): number {
  const seed = Number(text)
  if (text.trim() === '' || !Number.isSafeInteger(seed) || seed < 0)
    throw new InvalidArgumentError('A seed is a whole number, 0 or more.')
  return seed
}
