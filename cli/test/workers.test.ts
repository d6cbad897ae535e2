import { join, resolve } from 'node:path'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { launch } from './cli-run.ts'
import { type System, startSystem } from './system.ts'

const examples = resolve(import.meta.dirname, '../../examples')

let system: System
beforeAll(async () => {
  system = await startSystem({ RELEASE: '2.1.0', WORKER_ID: 'w1' })
})
afterAll(async () => {
  expect(await system.stop()).toBe(0)
})

it('lists who is heard', async () => {
  const { exitCode, stdout } = await system.here('workers', 'list', '--json')
  expect(exitCode).toBe(0)
  expect(JSON.parse(stdout).workers).toEqual([
    {
      worker_id: 'w1',
      ...{ engine: 'null', pool: 'local', release: '2.1.0', state: 'ready', jobs: [] },
      wake_id: null,
      ...{ idle_seconds: expect.any(Number), trouble: null },
    },
  ])
})

it('lets a worker finish its job, waits for its end, and avatar up starts another', async () => {
  const files = `-i ${examples}/portrait.jpg -a ${examples}/voice.wav -o ${join(system.folder, 'a.mp4')}`
  const args = `generate ${files} --json --data ${system.data} --prompt null:seconds=3`
  const making = launch(args.split(' '))
  await until(() => making.stdout().includes('"rendering"'), { what: 'rendering' })
  const { pid } = (await system.stackFile()).processes.sidecar

  const drained = await system.here('workers', 'drain', 'w1', '--json')

  expect(drained.exitCode).toBe(0)
  expect(JSON.parse(drained.stdout)).toEqual({ workers: [{ worker_id: 'w1', outcome: 'gone' }] })
  expect(drained.stderr).toContain('w1 finishes a job: rendering, ')
  expect(drained.stderr).toMatch(/w1 has left\n$/)
  expect(await making.exitCode).toBe(0)
  expect(making.stdout()).toContain('"attempt":1')
  expect(making.stdout()).not.toContain('"attempt":2')
  await until(async () => (await system.stackFile()).processes.sidecar.pid !== pid, {
    what: 'another process',
  })
  expect(system.up.stdout()).toMatch(/ sidecar ended with code 0, starting it again in 0\.3 s$/m)
})

it('refuses to guess whom it should drain', async () => {
  for (const args of [[], ['w1', '--all'], ['--all', '--older', '2.1.0']])
    expect((await system.here('workers', 'drain', ...args)).exitCode).toBe(2)
  const unknown = await system.here('workers', 'drain', 'nobody')
  expect(unknown).toMatchObject({ exitCode: 1, stdout: '' })
  expect(unknown.stderr).toBe('avatar: No worker "nobody" was heard for 3 s.\n')
})
