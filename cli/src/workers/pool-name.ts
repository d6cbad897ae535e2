import { poolSchema } from '@avatar/contracts'
import { exitCodes, UserError } from '../exit-codes.ts'

/** The name of a pool. @throws UserError for what cannot be one */
export function poolNamed(name: string): string {
  const { data } = poolSchema.safeParse(name)
  if (data !== undefined) return data
  throw new UserError(
    `"${name}" cannot be a pool: lower-case letters, digits and hyphens, up to 32, a letter first.`,
    exitCodes.usage,
  )
}
