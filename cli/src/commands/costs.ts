import {
  type BillPosting,
  billDifference,
  billTolerance,
  type CostSplit,
  type Costs,
  costsOf,
  dayOf,
  formatMicros,
  type GpuSum,
  monthOf,
  ownerSchema,
  poolSchema,
  postingsOfOwner,
  streams,
  subjects,
  workerCostOn,
} from '@avatar/contracts'
import { readLedger } from '@avatar/job-kit'
import { type Bus, readAll } from '@avatar/service-kit'
import { z } from 'zod'
import type { CommandContext } from '../command-context.ts'
import { withEnvFile } from '../env-file.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { amountOf, moneyOf } from '../owner-limits.ts'
import { asOperator, findSystem } from '../system.ts'
import { table } from '../table.ts'

export type CostsOptions = {
  data?: string
  json?: boolean
  month?: string
  by: CostSplit
  bill?: string
  pool?: string
  day?: string
}

const columns = ['charged', 'ours', 'coldStart', 'idle', 'waste', 'total'] as const

/** `avatar costs`: what a month cost, or whether a provider's bill is right. */
export async function costs(options: CostsOptions, context: CommandContext): Promise<number> {
  const { currency } = moneyOf(await withEnvFile(context))
  const bill = billOf(options, currency)
  return onSystem(options, context, async (bus) => {
    if (bill) return compareBill(bus, bill, options, context)
    const month = options.month ?? monthOf(dayOf(await bus.timeMs()))
    const found = costsOf(await readLedger(bus, month), month, options.by)
    context.stdout.write(
      options.json
        ? `${JSON.stringify({
            ...{ month, by: options.by, currency },
            rows: found.rows.map((row) => ({ name: row.name || null, ...viewOf(row) })),
            total: viewOf(found.total),
          })}\n`
        : `${month}, in ${currency}\n\n${tableOf(found, options.by)}`,
    )
    return exitCodes.ok
  })
}

/** `avatar costs forget`: removes what the ledger has of one owner. */
export async function forgetOwner(
  owner: string,
  options: Pick<CostsOptions, 'data' | 'json'>,
  context: CommandContext,
) {
  if (!ownerSchema.safeParse(owner).success)
    throw new UserError(
      `"${owner}" is no owner: give the o_… that avatar keys list shows, or a publisher's name.`,
      exitCodes.usage,
    )
  await onSystem(options, context, async (bus) => {
    const { name } = streams.LEDGER
    const subject = postingsOfOwner(owner)
    const { length } = await readAll((reading) => bus.followStream(name, subject, reading))
    await bus.purge(name, subject)
    context.stdout.write(
      options.json
        ? `${JSON.stringify({ owner, forgotten: length })}\n`
        : `Forgot ${length} postings of ${owner}. Services count them until they are restarted.\n`,
    )
    return exitCodes.ok
  })
}

async function onSystem(
  options: Pick<CostsOptions, 'data'>,
  { env }: CommandContext,
  act: (bus: Bus) => Promise<number>,
): Promise<number> {
  return asOperator(await findSystem(options.data, env), act)
}

/** The bill that the options tell. @throws UserError when they tell half of one */
function billOf(
  { bill, pool, day, month }: CostsOptions,
  currency: string,
): BillPosting | undefined {
  const refuse = (message: string) => new UserError(message, exitCodes.usage)
  if (month !== undefined && !z.iso.date().safeParse(`${month}-01`).success)
    throw refuse(`--month is a month such as 2026-11; it was "${month}".`)
  if (bill === undefined && pool === undefined && day === undefined) return undefined
  if (bill === undefined || pool === undefined || day === undefined)
    throw refuse('A bill needs all three: --bill AMOUNT, --pool POOL and --day YYYY-MM-DD.')
  if (!poolSchema.safeParse(pool).success) throw refuse(`--pool: "${pool}" is no name of a pool.`)
  if (!z.iso.date().safeParse(day).success)
    throw refuse(`--day is a day such as 2026-11-29; it was "${day}".`)
  return { pool, day, micros: amountOf('--bill', bill), currency }
}

/** Posts the bill, and compares it with what the workers of the pool told of that day. */
async function compareBill(
  bus: Bus,
  bill: BillPosting,
  { json }: CostsOptions,
  { stdout }: CommandContext,
): Promise<number> {
  const { pool, day, currency, micros } = bill
  await bus.publish(subjects.billPosting(day, pool), bill)
  const workers = workerCostOn(await readLedger(bus, monthOf(day)), day, pool)
  const difference = billDifference(micros, workers.micros)
  const isClose = difference <= billTolerance
  const percent = `${Math.round(difference * 1000) / 10} %`
  stdout.write(
    json
      ? `${JSON.stringify({
          ...{ pool, day, currency, bill: formatMicros(micros), workers: sumView(workers) },
          ...{ difference_ratio: difference, is_close: isClose },
        })}\n`
      : `${pool} on ${day}: the bill is ${formatMicros(micros)} ${currency}, its workers cost ` +
          `${formatMicros(workers.micros)} ${currency} by their own clocks ` +
          `(${secondsText(workers)} s). They are ${percent} apart` +
          `${isClose ? '' : ', more than the 5 % that is expected: look for workers that nobody sees'}.\n`,
  )
  return isClose ? exitCodes.ok : exitCodes.failed
}

function tableOf({ rows, total }: ReturnType<typeof costsOf>, by: CostSplit): string {
  const line = (name: string, of: Costs) => [
    name,
    ...columns.map((column) => formatMicros(of[column].micros)),
    secondsText(of.total),
  ]
  const head = ['CHARGED', 'OURS', 'COLD START', 'IDLE', 'WASTE', 'TOTAL', 'GPU SECONDS']
  return table(
    [by.toUpperCase(), ...head],
    [...rows.map((row) => line(row.name || '(workers)', row)), line('total', total)],
  )
}

function viewOf({ charged, ours, coldStart, idle, waste, total }: Costs) {
  return {
    charged: sumView(charged),
    ours: sumView(ours),
    cold_start: sumView(coldStart),
    idle: sumView(idle),
    waste: sumView(waste),
    total: sumView(total),
  }
}

function sumView(sum: GpuSum) {
  return { gpu_seconds: Math.round(sum.gpuSeconds * 10) / 10, amount: formatMicros(sum.micros) }
}

function secondsText({ gpuSeconds }: GpuSum): string {
  return gpuSeconds.toFixed(1)
}
