import { z } from 'zod'
import { poolSchema } from './job.ts'

/** The price of one GPU second in millionths of the currency, by pool. */
export type PoolPrices = Readonly<Record<string, number>>

/** A currency by its three letters of ISO 4217, such as `USD`. */
export const currencySchema = z.string().regex(/^[A-Z]{3}$/)

const microsPerUnit = 1_000_000
const amountPattern = /^(\d{1,9})(?:\.(\d{1,6}))?$/

/**
 * Reads an amount such as `12.5` as millionths, digit by digit: no binary fraction comes near it.
 *
 * @throws RangeError when it is no amount, in a sentence for whoever wrote it
 */
export function parseAmount(text: string): number {
  const [, whole, fraction = ''] = amountPattern.exec(text.trim()) ?? []
  if (whole === undefined)
    throw new RangeError(
      `"${text}" is no amount: write a decimal number such as 12.50, ` +
        'below 1,000,000,000 and with at most 6 decimals',
    )
  return Number(whole) * microsPerUnit + Number(fraction.padEnd(6, '0'))
}

/** An amount as decimal text with two to six decimals: 530 → `0.00053`, 12,500,000 → `12.50`. */
export function formatMicros(micros: number): string {
  const digits = String(Math.abs(micros)).padStart(7, '0')
  const fraction = digits.slice(-6).replace(/0{1,4}$/, '')
  return `${micros < 0 ? '-' : ''}${digits.slice(0, -6)}.${fraction}`
}

/**
 * Reads the prices of pools for each GPU second, such as `l40s=0.00053,local=0`; an empty text has none.
 *
 * @throws RangeError that says which entry is wrong and why
 */
export function parsePoolPrices(text: string): PoolPrices {
  const prices = new Map<string, number>()
  for (const entry of text.split(',').map((part) => part.trim())) {
    if (entry === '') continue
    const [pool = '', amount, ...rest] = entry.split('=').map((part) => part.trim())
    if (amount === undefined || rest.length > 0)
      throw new RangeError(`"${entry}" is no price: write pool=amount, such as l40s=0.00053`)
    if (!poolSchema.safeParse(pool).success)
      throw new RangeError(
        `"${pool}" is no pool: a small letter, then at most 31 small letters, digits and hyphens`,
      )
    if (prices.has(pool)) throw new RangeError(`the pool ${pool} has two prices`)
    prices.set(pool, parseAmount(amount))
  }
  return Object.fromEntries(prices)
}

/** What one GPU second of a pool costs, in millionths; a pool without a price costs nothing. */
export function priceMicrosOf(prices: PoolPrices, pool: string): number {
  // An object has more names than its own, such as `constructor`.
  return Object.hasOwn(prices, pool) ? (prices[pool] ?? 0) : 0
}

/** The price that an estimate counts, as nobody knows yet which pool will render: the highest. */
export function dearestPriceMicros(prices: PoolPrices): number {
  return Math.max(0, ...Object.values(prices))
}

/** What GPU seconds cost at a price for each, in whole millionths. */
export function costMicros(gpuSeconds: number, priceMicros: number): number {
  return Math.round(gpuSeconds * priceMicros)
}
