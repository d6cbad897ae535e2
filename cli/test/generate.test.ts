import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findFfmpeg } from '../src/stack/installation.ts'
import { avatar, launch } from './cli-run.ts'
import { type System, startSystem } from './system.ts'

const examples = resolve(import.meta.dirname, '../../examples')
const portrait = join(examples, 'portrait.jpg')
const voice = join(examples, 'voice.wav')

let system: System
beforeAll(async () => {
  system = await startSystem()
})
afterAll(async () => {
  expect(await system.stop()).toBe(0)
})

describe('avatar generate', () => {
  const out = () => join(system.folder, 'videos', 'one.mp4')

  const generate = () =>
    `generate -i ${portrait} -a ${voice} -o ${out()} --json --data ${system.data}`.split(' ')

  it('writes the video and prints its progress as lines of JSON', async () => {
    const made = await system.here('generate', '-i', portrait, '-a', voice, '-o', out(), '--json')
    expect(made).toMatchObject({ exitCode: 0, stderr: '' })
    const events = made.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(events[0]).toMatchObject({ event: 'accepted', job_id: expect.any(String) })
    expect(events.slice(1, -1).every(({ event }) => event === 'status')).toBe(true)
    expect(events.at(-1)).toMatchObject({ event: 'completed', path: out(), engine: 'null' })
    expect((await stat(out())).size).toBe(events.at(-1).bytes)
  })

  it('makes a job whose state, trace and dashboard the operator can ask for', async () => {
    const made = await system.here('generate', '-i', portrait, '-a', voice, '-o', out(), '--json')
    const { job_id } = JSON.parse(made.stdout.slice(0, made.stdout.indexOf('\n')))
    const ask = (id: string, grafana?: string) =>
      avatar(['status', id, '--data', system.data], { GRAFANA_URL: grafana })
    const plain = (await ask(job_id)).stdout
    expect(plain).toMatch(/^\S+ {2}completed, attempt 1, owner o_\w+\ntrace [0-9a-f]{32}\n$/)
    const lines = (await ask(job_id, 'http://monitor.example/grafana/')).stdout
      .trimEnd()
      .split('\n')
    const link = new URL(lines.at(-1) ?? '')
    expect(link.origin + link.pathname).toBe('http://monitor.example/grafana/d/avatar-one-job')
    expect(link.searchParams.get('var-job_id')).toBe(job_id)
    expect(Number(link.searchParams.get('from'))).toBeLessThan(Date.now())
    const told = await system.here('status', job_id, '--json')
    expect(JSON.parse(told.stdout)).toMatchObject({ job_id, state: 'completed', attempt: 1 })
    expect(await ask(randomUUID())).toMatchObject({ exitCode: 1, stdout: '' })
    expect(await ask('no-id')).toMatchObject({ exitCode: 2, stdout: '' })
    expect(await ask(job_id, 'monitor')).toMatchObject({ exitCode: 2, stdout: '' })
  })

  it('shows the progress on standard error and the path on standard output', async () => {
    const args = [
      'generate',
      '-i',
      portrait,
      '-a',
      voice,
      '-o',
      out(),
      '--seed',
      '7',
      '--priority',
      'high',
    ]
    const made = await system.here(...args)
    expect(made.exitCode).toBe(0)
    expect(made.stdout.startsWith(`${out()}  `)).toBe(true)
    expect(made.stderr).toMatch(/^job [0-9a-f-]{36}\n/)
    expect(made.stderr).toMatch(/100% {2}completed\n$/)
    expect((await stat(join(system.data, 'cli-key'))).mode & 0o777).toBe(0o600)
  })

  it('sends a second voice, a video to dub and what else the API takes', async () => {
    const two = ['--audio2', voice, '--speaking', 'in_turn', '--lead-seconds', '0.5']
    const told = async (...args: string[]) => {
      const made = await system.here('generate', '-a', voice, '-o', out(), '--json', ...args)
      expect(made, made.stderr).toMatchObject({ exitCode: 0 })
      const events = made.stdout.trimEnd().split('\n')
      return JSON.parse(events.at(-1) ?? '')
    }
    const alone = await told('-i', portrait)
    const both = await told('-i', portrait, ...two, '--expressiveness', '1.2', '--aspect', '1:1')
    // The voices follow one another, after half a second of silence.
    expect(both.video_seconds).toBeCloseTo(2 * alone.video_seconds + 0.5, 0)
    const source = join(system.folder, 'source.mp4')
    const made = ['-loop', '1', '-t', '5', '-i', portrait, '-vf', 'scale=256:256', source]
    await promisify(execFile)(findFfmpeg() ?? 'ffmpeg', ['-v', 'error', ...made])
    const dubbed = await told('--video', source, '--video-length', 'shorter')
    expect(dubbed.video_seconds).toBe(5)
  })

  it('follows a job through a restart of the API', async () => {
    const slow = launch([...generate(), '--prompt', 'null:seconds=3'])
    await until(() => slow.stdout().includes('"rendering"'), { what: 'rendering' })
    process.kill((await system.stackFile()).processes.ingest.pid, 'SIGKILL')
    expect(await slow.exitCode).toBe(0)
    expect(slow.stdout()).toContain('"event":"completed"')
  })

  it('cancels the job at Ctrl-C', async () => {
    const run = launch([...generate(), '--prompt', 'null:seconds=60'])
    await until(() => run.stdout().includes('"rendering"'), { what: 'rendering' })
    run.signal('SIGINT')
    expect(await run.exitCode).toBe(130)
    expect(run.stdout()).toContain('"status":"cancelled"')
  })

  it('reports what is wrong before it submits anything', async () => {
    const refused = async (...args: string[]) => {
      const run = await system.here('generate', '--json', ...args)
      for (const line of run.stdout.split('\n').filter(Boolean))
        expect(JSON.parse(line)).toMatchObject({ event: 'error', exit_code: 2 })
      return run
    }
    const missing = await refused('-i', 'nowhere.png', '-a', voice)
    expect(missing).toMatchObject({
      exitCode: 2,
      stderr: 'avatar: There is no file nowhere.png.\n',
    })
    expect((await refused('-i', system.folder, '-a', voice)).exitCode).toBe(2)
    expect((await refused('-i', portrait, '-a', voice, '-o', system.folder)).exitCode).toBe(2)
    expect((await refused('-i', portrait, '-a', voice, '-o', `${portrait}/x`)).exitCode).toBe(2)
    expect((await refused('-i', portrait, '-a', voice, '--seed', 'x')).exitCode).toBe(2)
    expect((await refused('-i', portrait, '-a', voice, '--priority', 'x')).exitCode).toBe(2)
    expect((await refused('-i', portrait)).exitCode).toBe(2)
    expect((await refused('-a', voice)).stderr).toContain('--image')
    expect((await refused('-i', portrait, '-a', voice, '--audio2', 'no.wav')).exitCode).toBe(2)
    const wrong = await refused('-i', portrait, '-a', voice, '--tail-seconds', '9')
    expect(wrong).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('It must be a number from 0 to 5, in seconds.'),
    })
  })

  it('has different exit codes for a refusal, a failed job and a wrong key', async () => {
    const text = join(system.folder, 'text.png')
    await writeFile(text, 'no picture')
    const refused = await system.here('generate', '-i', text, '-a', voice, '-o', out(), '--json')
    expect(refused.exitCode).toBe(3)
    expect(JSON.parse(refused.stdout)).toMatchObject({ event: 'error', exit_code: 3 })
    const args = ['generate', '-i', portrait, '-a', voice, '-o', out()]
    const failed = await system.here(...args, '--prompt', 'null:noface')
    expect(failed.exitCode).toBe(4)
    expect(failed.stderr).toContain('NO_FACE')
    const foreign = await avatar([...args, '--url', system.url, '--key', 'ava_live_wrong'])
    expect(foreign.exitCode).toBe(3)
    const keyless = await avatar([...args, '--url', system.url])
    expect(keyless.exitCode).toBe(2)
    const lost = await avatar([...args, '--data', join(system.folder, 'none')])
    expect(lost.exitCode).toBe(6)
    expect(lost.stderr).toContain('npx avatar up')
  })
})
