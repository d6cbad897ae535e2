import {
  eventSchemas,
  isTerminal,
  type JobRecord,
  jobIdSchema,
  jobPrefix,
  type RemovedObject,
  scaledTimings,
  streams,
  subjects,
} from '@avatar/contracts'
import { openJobRecords, retentionConfig } from '@avatar/job-kit'
import { type Bus, loadConfig, type ObjectStore, readAll } from '@avatar/service-kit'
import { z } from 'zod'
import type { CommandContext } from '../command-context.ts'
import { spooledFiles } from '../deletion/spooled-files.ts'
import { toldPrompts } from '../deletion/told-prompts.ts'
import { remaining } from '../deletion/what-remains.ts'
import { type Leftover, places, type Remains, whatStays } from '../deletion/what-stays.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { timingsDivisorOf } from '../stack/settings.ts'
import { agesOf, findSystemWithStore } from '../store-beside.ts'
import { asOperator } from '../system.ts'
import { table } from '../table.ts'

export type VerifyDeletionOptions = { data?: string; json?: boolean; job?: string }

/** A timer that fires is handled within this; the sweep finds what has none. */
const handledWithinMs = 60_000
const leftoversShown = 50
const timersAtOnce = 1_000

/**
 * `avatar verify-deletion`: whether anything stays of jobs whose time is over, in the bucket, the records, the
 * streams and the spools of this machine. With `--job`, about one job, with what was removed and when.
 *
 * @returns 0 when nothing stays, else 1
 * @throws UserError when the store's keys are not at hand: they are those of the system of `--data`
 */
export async function verifyDeletion(
  options: VerifyDeletionOptions,
  { env, stdout }: CommandContext,
): Promise<number> {
  const { job } = options
  if (job !== undefined && !jobIdSchema.safeParse(job).success)
    throw new UserError(`${job} is no job's id.`, exitCodes.usage)
  const { system, data, store } = await findSystemWithStore(options.data, env)
  const spools = data.spool('')
  try {
    const remains = await asOperator(system, (bus) => gather(bus, store, spools, job))
    const { orphanAgeMs, sweepEveryMs, queueTimeoutMs } = scaledTimings(timingsDivisorOf(env))
    const { VIDEO_RETENTION_HOURS: hours } = loadConfig(z.object(retentionConfig), env)
    // A lost timer is made up for by the next sweep but one, should one just have passed.
    const graceMs = handledWithinMs + 2 * sweepEveryMs
    const intakeAgeMs = hours * 3_600_000 + queueTimeoutMs
    const patience = { graceMs, orphanAgeMs, intakeAgeMs }
    const record = remains.records.find(({ jobId }) => jobId === job)
    if (job !== undefined && !record && remains.objects.length + remains.deletions.length === 0)
      throw new UserError(`Nothing is known of a job ${job}, or no longer.`)
    // Of one job, whose time is over, no patience is asked.
    const leftovers = whatStays(remains, job === undefined ? patience : { ...patience, graceMs: 0 })
    stdout.write(options.json ? jsonOf(remains, leftovers) : textOf(remains, leftovers, record))
    return leftovers.length === 0 ? exitCodes.ok : exitCodes.failed
  } finally {
    store.stop()
  }
}

async function gather(
  bus: Bus,
  store: ObjectStore,
  spools: string,
  job: string | undefined,
): Promise<Remains> {
  const isMeant = (jobId: string | undefined) => job === undefined || jobId === job
  // What is read first may only lack what ended later: records last.
  const prefixes = job ? [jobPrefix(job)] : ['jobs/', 'intake/']
  const objects = (await Promise.all(prefixes.map((prefix) => agesOf(store, prefix)))).flat()
  const read = (stream: string, subject: string) =>
    readAll((reading) => bus.followStream(stream, subject, reading))
  const timers = await timersOf(bus, job ?? '*')
  const nowMs = await bus.timeMs()
  const spooled = (await spooledFiles(spools, nowMs)).filter(({ jobId }) => isMeant(jobId))
  const deletions = (
    await read(streams.EVENTS.name, subjects.event('job.deleted', job ?? '*'))
  ).map(({ body }) => eventSchemas['job.deleted'].parse(body))
  const records = (await (await openJobRecords(bus)).list()).filter(({ jobId }) => isMeant(jobId))
  const prompts = await toldPrompts(bus, records, job)
  return { objects, timers, spooled, deletions, records, prompts, nowMs }
}

/** By direct reads: a work queue may have no second consumer. */
async function timersOf(bus: Bus, job: string): Promise<string[]> {
  const found: string[] = []
  for (const subject of [subjects.scheduledDeletion(job), subjects.dueDeletion(job)]) {
    for (let from = 1; ; ) {
      const page = await bus.readStream(streams.SCHED.name, subject, from, timersAtOnce)
      found.push(...page.map((timer) => timer.subject.split('.').at(-1) ?? ''))
      if (page.length < timersAtOnce) break
      from = (page.at(-1)?.sequence ?? from) + 1
    }
  }
  return found
}

function jsonOf(remains: Remains, leftovers: readonly Leftover[]): string {
  const told = {
    ok: leftovers.length === 0,
    jobs: remains.records.length,
    deleted: remains.records.filter(({ deletedAtMs }) => deletedAtMs !== undefined).length,
    leftovers: leftovers.map(({ place, jobId, what }) => ({ place, job_id: jobId ?? null, what })),
    removed: remains.deletions.map(({ jobId, atMs, removed = [] }) => ({
      ...{ job_id: jobId, at: new Date(atMs).toISOString() },
      ...{ objects: removed, bytes: bytesOf(removed) },
    })),
    stays: remaining,
  }
  return `${JSON.stringify(told)}\n`
}

function textOf(
  { records, objects, deletions, timers, spooled }: Remains,
  leftovers: readonly Leftover[],
  record: JobRecord | undefined,
): string {
  const seen = {
    bucket: `${objects.length} objects`,
    record: `${records.length} records`,
    events: `${deletions.length} deletions`,
    timers: `${timers.length} timers`,
    spools: `${spooled.length} folders`,
  }
  const rows = places.map((place) => {
    const those = leftovers.filter((each) => each.place === place)
    return [place, seen[place], String(those.length)]
  })
  const shown = leftovers
    .slice(0, leftoversShown)
    .map(({ place, jobId, what }) => `${place}: ${jobId ?? 'of no job'}: ${what}\n`)
  return [
    table(['PLACE', 'LOOKED AT', 'SHOULD BE GONE'], rows),
    ...shown,
    'STAYS BY DESIGN\n',
    ...remaining.map(({ what, holds, days }) => `${what}, ${days} days: ${holds}\n`),
    ...(record ? [lifeOf(record)] : []),
    ...(record ? deletions.map(({ removed = [] }) => removedLines(removed)) : []),
  ].join('')
}

function lifeOf({ jobId, state, expiresAtMs, deletedAtMs, ...job }: JobRecord): string {
  const at = (ms: number | undefined) => (ms === undefined ? 'not yet' : new Date(ms).toISOString())
  const isOver = isTerminal({ ...job, state })
  return `${jobId} ${state}; its media ${isOver ? `may stay until ${at(expiresAtMs)}` : 'are in use'}; deleted ${at(deletedAtMs)}\n`
}

function removedLines(removed: readonly RemovedObject[]): string {
  const lines = removed.map(({ key, bytes }) => `removed ${key} (${bytes} bytes)\n`)
  return `${lines.join('')}${removed.length} objects, ${bytesOf(removed)} bytes removed\n`
}

function bytesOf(removed: readonly RemovedObject[]): number {
  return removed.reduce((sum, { bytes }) => sum + bytes, 0)
}
