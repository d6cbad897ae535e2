import { expect, it } from 'vitest'
import type { Runnable } from '../src/background.ts'
import { until } from './until.ts'

/** Something that runs, and how many of it are seen at work from outside. */
export type Observed = { runnable: Runnable; atWork: () => number | Promise<number> }

/** The one contract of everything that starts and stops, as tests. */
export function itKeepsTheRunnableContract(make: () => Observed | Promise<Observed>): void {
  it('may be stopped before it was started', async () => {
    const { runnable, atWork } = await make()
    await runnable.stop()
    expect(await atWork()).toBe(0)
  })

  it('works once when it is started twice, and not at all after a stop, or two', async () => {
    const { runnable, atWork } = await make()
    const becomes = (count: number) =>
      until(async () => (await atWork()) === count, { what: `${count} at work` })
    await runnable.start()
    await runnable.start()
    await becomes(1)
    await runnable.stop()
    await becomes(0)
    await runnable.stop()
    expect(await atWork()).toBe(0)
  })

  it('may be started again after a stop', async () => {
    const { runnable, atWork } = await make()
    await runnable.start()
    await runnable.stop()
    await runnable.start()
    await until(async () => (await atWork()) === 1, { what: 'one at work' })
    await Promise.all([runnable.stop(), runnable.stop()])
    await until(async () => (await atWork()) === 0, { what: 'none at work' })
  })
}
