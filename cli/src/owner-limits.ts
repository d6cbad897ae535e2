import {
  committedOf,
  createOpenJobs,
  dayOf,
  dearestPriceMicros,
  formatMicros,
  type LimitName,
  limitNames,
  limitsInForce,
  limitTable,
  monthOf,
  type OwnerLimits,
  ownerLimitsSchema,
  ownerSchema,
  parseAmount,
  usageOf,
} from '@avatar/contracts'
import {
  defaultLimitsOf,
  openJobRecords,
  openOwnerLimits,
  priceConfig,
  quotaConfig,
  rateConfig,
  readLedger,
} from '@avatar/job-kit'
import { type Bus, ConfigError, loadConfig } from '@avatar/service-kit'
import { z } from 'zod'
import { exitCodes, UserError, usageError } from './exit-codes.ts'
import type { Environment } from './stack/settings.ts'

/** What a command line says about limits: new values by the names of their flags, and names to unset. */
export type LimitChanges = { set: OwnerLimits; unset: readonly LimitName[] }

const configSchema = z.object({ ...rateConfig, ...quotaConfig, ...priceConfig })

/** The defaults, prices and currency that the environment gives the services. @throws UserError */
export function moneyOf(env: Environment) {
  try {
    const names = Object.keys(configSchema.shape)
    const own = Object.fromEntries(names.map((name) => [name, env[name]]))
    const config = loadConfig(configSchema, own)
    const { POOL_PRICES: prices, CURRENCY: currency } = config
    return { prices, currency, defaults: defaultLimitsOf(config) }
  } catch (error) {
    if (error instanceof ConfigError) throw usageError(error.message, error)
    throw error
  }
}

/**
 * Reads the values of limits as they were typed, by the names of their flags.
 *
 * @throws UserError that says which one is wrong, and what it may be
 */
export function parseLimits(typed: Readonly<Partial<Record<LimitName, string>>>): OwnerLimits {
  const limits: Partial<Record<LimitName, number>> = {}
  for (const name of limitNames) {
    const text = typed[name]
    if (text !== undefined) limits[name] = parseLimit(name, text)
  }
  return ownerLimitsSchema.parse(limits)
}

function parseLimit(name: LimitName, text: string): number {
  const flag = `--${limitTable[name].name}`
  const value = limitTable[name].kind === 'amount' ? amountOf(flag, text) : Number(text)
  const parsed = ownerLimitsSchema.shape[name].safeParse(text.trim() === '' ? Number.NaN : value)
  if (parsed.success && parsed.data !== undefined) return parsed.data
  const { minimum, maximum, type } = z.toJSONSchema(ownerLimitsSchema.shape[name])
  const kind = type === 'integer' ? 'a whole number' : 'a number'
  const bounds =
    maximum === undefined || maximum === Number.MAX_SAFE_INTEGER
      ? `${minimum ?? 0} or more`
      : `from ${minimum ?? 0} to ${maximum}`
  throw new UserError(`${flag} is ${kind}, ${bounds}; it was "${text}".`, exitCodes.usage)
}

/** An amount as somebody typed it, in millionths. @throws UserError that names the flag */
export function amountOf(flag: string, text: string): number {
  try {
    return parseAmount(text)
  } catch (error) {
    throw usageError(`${flag}: ${error instanceof Error ? error.message : error}.`, error)
  }
}

/** The limits that names such as `renders` stand for. @throws UserError for an unknown one */
export function namedLimits(names: readonly string[]): LimitName[] {
  return names.map((name) => {
    const found = limitNames.find((limit) => limitTable[limit].name === name)
    if (found) return found
    const known = limitNames.map((limit) => limitTable[limit].name).join(', ')
    throw new UserError(`There is no limit "${name}"; there are ${known}.`, exitCodes.usage)
  })
}

/** Whether a name can be that of an owner, though no key has it: a publisher, or `o_…`. */
export function isOwner(name: string): boolean {
  return ownerSchema.safeParse(name).success
}

/** Changes an owner's limits, and returns those it then has. Unchanged where nothing is to change. */
export async function changeLimits(
  bus: Bus,
  owner: string,
  { set, unset }: LimitChanges,
): Promise<OwnerLimits> {
  const records = await openOwnerLimits(bus)
  for (;;) {
    const found = await records.find(owner)
    const limits: OwnerLimits = { ...found?.value, ...set }
    for (const name of unset) delete limits[name]
    if (Object.keys(set).length + unset.length === 0) return limits
    const written = found
      ? await records.update(owner, limits, found.revision)
      : await records.create(owner, limits)
    if (typeof written === 'number') return limits
  }
}

/** One limit as it is shown: what holds, where it comes from, and what is used of it. */
export type ShownLimit = {
  name: string
  limit: string | null
  from: 'own' | 'default'
  used: string | null
}

/** Every limit of an owner. Rates have no use to show: it is over in a minute. */
export async function showLimits(
  bus: Bus,
  owner: string,
  own: OwnerLimits,
  env: Environment,
): Promise<ShownLimit[]> {
  const { defaults, prices } = moneyOf(env)
  const limits = limitsInForce(own, defaults)
  const used = await usedBy(bus, owner, dearestPriceMicros(prices))
  return limitNames.map((key) => {
    const { name, kind } = limitTable[key]
    const show = (value: number | undefined) => {
      if (value === undefined) return null
      return kind === 'amount' ? formatMicros(value) : String(Math.round(value * 10) / 10)
    }
    const from = own[key] === undefined ? 'default' : 'own'
    return { name, limit: show(limits[key]), from, used: show(used[key]) }
  })
}

/** What counts against an owner's limits now: what is charged, and what unfinished jobs will be. */
async function usedBy(
  bus: Bus,
  owner: string,
  dearestMicros: number,
): Promise<Partial<Record<LimitName, number>>> {
  const open = createOpenJobs()
  const records = await openJobRecords(bus)
  const read = new AbortController()
  for await (const { value } of records.watch(read.signal, () => read.abort()))
    if (value?.owner === owner) open.note(value)
  const jobs = open.totalOf(owner)
  const committed = committedOf(jobs, dearestMicros)
  const today = dayOf(await bus.timeMs())
  const usage = usageOf(await readLedger(bus, monthOf(today)))
  const ofDay = usage.chargedTo(owner, today)
  const ofMonth = usage.chargedTo(owner, monthOf(today))
  return {
    unfinishedJobs: jobs.jobs,
    renders: jobs.renders,
    gpuSecondsPerDay: ofDay.gpuSeconds + committed.gpuSeconds,
    budgetPerDayMicros: ofDay.micros + committed.micros,
    budgetPerMonthMicros: ofMonth.micros + committed.micros,
  }
}
