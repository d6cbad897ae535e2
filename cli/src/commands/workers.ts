import { type Beat, subjects } from '@avatar/contracts'
import { type Bus, systemClock as clock } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { asOperator, findSystem } from '../system.ts'
import { table } from '../table.ts'
import { chosenAmong, createDrain } from '../workers/drain.ts'
import { hearWorkers, onBeats } from '../workers/hear-workers.ts'

export type WorkersOptions = { data?: string; json?: boolean }
export type DrainOptions = WorkersOptions & { all?: boolean; older?: string }

const lookAgainMs = 100

/** `avatar workers list`: the workers that are heard within 3 s. */
export async function listWorkers(options: WorkersOptions, { env, stdout }: CommandContext) {
  const beats = await asOperator(await findSystem(options.data, env), (bus) => hearWorkers(bus))
  const workers = beats.map(view)
  if (options.json) {
    stdout.write(`${JSON.stringify({ workers })}\n`)
    return
  }
  if (workers.length === 0) {
    stdout.write('no worker is connected\n')
    return
  }
  const rows = workers.map(({ worker_id, engine, pool, release, state, jobs, idle_seconds }) => [
    ...[worker_id, engine, pool ?? '', release ?? '', state, String(jobs.length)],
    idle_seconds === null ? '' : `${Math.floor(idle_seconds)} s`,
  ])
  stdout.write(table(['WORKER', 'ENGINE', 'POOL', 'RELEASE', 'STATE', 'JOBS', 'IDLE'], rows))
}

/**
 * `avatar workers drain`: tells workers to finish the job in hand and to leave, and waits until they have.
 * Whoever interrupts it stops the waiting alone.
 *
 * @returns the exit code: 1 if any of them fell silent or goes on
 * @throws UserError when it is not said which, or the one named is not heard
 */
export async function drainWorkers(
  id: string | undefined,
  options: DrainOptions,
  context: CommandContext,
): Promise<number> {
  const ways = [id, options.all, options.older].filter((way) => way !== undefined)
  if (ways.length !== 1)
    throw new UserError('Name one worker, or give --all or --older RELEASE.', exitCodes.usage)
  const outcomes = await asOperator(await findSystem(options.data, context.env), async (bus) =>
    drain(bus, await choose(bus, id, options), context),
  )
  if (options.json) {
    const workers = outcomes.map(({ workerId, outcome }) => ({ worker_id: workerId, outcome }))
    context.stdout.write(`${JSON.stringify({ workers })}\n`)
  } else if (outcomes.length === 0) context.stdout.write('no worker is to be drained\n')
  return outcomes.every(({ outcome }) => outcome === 'gone') ? exitCodes.ok : exitCodes.failed
}

async function choose(bus: Bus, id: string | undefined, { older }: DrainOptions): Promise<Beat[]> {
  const chosen = (beats: readonly Beat[]) => chosenAmong(beats, id, older)
  // Whoever is named is not waited for any longer once it is heard.
  const isEnough = (beats: readonly Beat[]) => id !== undefined && chosen(beats).length > 0
  const found = chosen(await hearWorkers(bus, isEnough))
  if (id !== undefined && found.length === 0)
    throw new UserError(`No worker "${id}" was heard for 3 s.`)
  return found
}

async function drain(bus: Bus, chosen: readonly Beat[], { stderr }: CommandContext) {
  const leaving = createDrain(chosen, clock.monotonicMs())
  const tell = ({ workerId }: Beat) =>
    bus.publishCore(subjects.drain(workerId), { reason: 'avatar workers drain' })
  const shown = new Set<string>()
  const show = () => {
    for (const line of leaving.told()) if (!shown.has(line)) stderr.write(`${line}\n`)
    for (const line of leaving.told()) shown.add(line)
  }
  const listening = onBeats(bus, (beat) => {
    if (leaving.onBeat(beat, clock.monotonicMs())) tell(beat)
  })
  for (const beat of chosen) tell(beat)
  while (!leaving.isOver()) {
    show()
    await clock.wait(lookAgainMs)
    leaving.check(clock.monotonicMs())
  }
  show()
  listening.stop()
  return leaving.outcomes()
}

function view(beat: Beat) {
  return {
    worker_id: beat.workerId,
    engine: beat.engine,
    pool: beat.pool ?? null,
    release: beat.release ?? null,
    wake_id: beat.wakeId ?? null,
    state: beat.state,
    jobs: beat.jobs
      .filter(({ stage }) => stage !== 'ended')
      .map(({ jobId, stage, percent }) => ({ job_id: jobId, stage, percent })),
    idle_seconds: beat.idleSeconds ?? null,
    trouble: beat.trouble ?? null,
  }
}
