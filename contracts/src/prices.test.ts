import { describe, expect, it } from 'vitest'
import {
  costMicros,
  dearestPriceMicros,
  formatMicros,
  parseAmount,
  parsePoolPrices,
  priceMicrosOf,
} from './prices.ts'

describe('the prices of pools', () => {
  it('are read as whole millionths', () => {
    const prices = parsePoolPrices(' l40s=0.00053, local=0 ,h200 = 1.1,')
    expect(prices).toEqual({ l40s: 530, local: 0, h200: 1_100_000 })
    expect(priceMicrosOf(prices, 'l40s')).toBe(530)
    expect(priceMicrosOf(prices, 'unheard-of')).toBe(0)
    expect(priceMicrosOf(prices, 'constructor')).toBe(0)
    expect(dearestPriceMicros(prices)).toBe(1_100_000)
  })

  it('may be none', () => {
    expect(parsePoolPrices('')).toEqual({})
    expect(dearestPriceMicros(parsePoolPrices(''))).toBe(0)
  })

  it.each([
    ['l40s', 'write pool=amount'],
    ['l40s=1=2', 'write pool=amount'],
    ['L40S=1', '"L40S" is no pool'],
    ['=1', '"" is no pool'],
    ['l40s=', '"" is no amount'],
    ['l40s=-1', '"-1" is no amount'],
    ['l40s=1e-3', '"1e-3" is no amount'],
    ['l40s=0.0000001', 'at most 6 decimals'],
    ['a=1,a=1', 'two prices'],
  ])('are refused as %s, saying why', (text, why) => {
    expect(() => parsePoolPrices(text)).toThrow(why)
  })
})

describe('an amount', () => {
  it.each([
    [0, '0.00'],
    [1, '0.000001'],
    [530, '0.00053'],
    [100_000, '0.10'],
    [300_000, '0.30'],
    [12_500_000, '12.50'],
    [1_000_000_000, '1000.00'],
    [-1_230_000, '-1.23'],
    [999_999_999_999_999, '999999999.999999'],
  ])('of %i millionths is %s', (micros, text) => {
    expect(formatMicros(micros)).toBe(text)
    if (micros >= 0) expect(parseAmount(text)).toBe(micros)
  })

  it('keeps every digit on its way through text', () => {
    for (let micros = 0; micros < 1_000_000_000; micros += 999_983)
      expect(parseAmount(formatMicros(micros))).toBe(micros)
  })

  it('of GPU seconds is rounded to whole millionths', () => {
    expect(costMicros(0.1 + 0.2, 530)).toBe(159)
    expect(costMicros(1.005, 1_000_000)).toBe(1_005_000)
  })
})
