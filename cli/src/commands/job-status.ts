import { type JobRecord, jobIdSchema, oneJobDashboard } from '@avatar/contracts'
import { openJobRecords } from '@avatar/job-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { asOperator, findSystem } from '../system.ts'

/** A line can be logged a moment before the record says that the job was created. */
const earlierMs = 60_000

/**
 * `avatar status JOB`: what the record says about a job of any owner, and where its dashboard is.
 *
 * @throws UserError when there is no such job
 */
export async function jobStatus(
  jobId: string,
  options: { data?: string; json?: boolean },
  { env, stdout }: CommandContext,
) {
  if (!jobIdSchema.safeParse(jobId).success)
    throw new UserError(`${jobId} is no job's id.`, exitCodes.usage)
  const system = await findSystem(options.data, env)
  const record = await asOperator(system, async (bus) =>
    (await openJobRecords(bus)).findMatching(`*.${jobId}`),
  )
  if (!record) throw new UserError(`There is no job ${jobId}, or no longer.`)
  const { owner, state, epoch, error } = record.value
  const traceId = record.value.traceparent.split('-')[1]
  const dashboard = dashboardOf(record.value, env['GRAFANA_URL'])
  if (options.json) {
    const told = { job_id: jobId, owner, state, attempt: epoch, error, trace_id: traceId }
    stdout.write(`${JSON.stringify({ ...told, dashboard })}\n`)
    return
  }
  stdout.write(`${jobId}  ${state}, attempt ${epoch}, owner ${owner}\n`)
  if (error) stdout.write(`${error.message} (${error.code})\n`)
  stdout.write(`trace ${traceId}\n`)
  if (dashboard) stdout.write(`${dashboard}\n`)
}

/** @throws UserError when GRAFANA_URL is no URL */
function dashboardOf(
  { jobId, createdAtMs }: JobRecord,
  grafana: string | undefined,
): string | undefined {
  if (!grafana) return undefined
  if (!URL.canParse(grafana))
    throw new UserError(`GRAFANA_URL is no URL: ${grafana}`, exitCodes.usage)
  // Grafana may live below a path.
  const url = new URL(grafana.replace(/\/*$/, `/d/${oneJobDashboard.uid}`))
  url.searchParams.set(`var-${oneJobDashboard.variable}`, jobId)
  url.searchParams.set('from', String(createdAtMs - earlierMs))
  url.searchParams.set('to', 'now')
  return url.href
}
