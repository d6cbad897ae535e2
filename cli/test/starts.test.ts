import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { until } from '@avatar/service-kit/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dataFolder, ensureDataFolder, ensureStackMark } from '../src/stack/data-folder.ts'
import { claimDataFolder, stackMarkVariable, stopLeftovers } from '../src/stack/leftovers.ts'
import { choosePorts } from '../src/stack/ports.ts'
import { readStackFile } from '../src/stack/stack-file.ts'
import { avatar, launch, readyUrl } from './cli-run.ts'
import { quick } from './system.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-starts-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

const newData = async (name: string) => {
  const data = dataFolder(join(folder, name))
  await ensureDataFolder(data)
  return data
}

describe('ports', () => {
  it('of systems that start at once are all different, although none listens yet', async () => {
    const starts = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => choosePorts(await newData(name), undefined)),
    )
    const all = starts.flatMap(({ ports }) => Object.values(ports))
    expect(new Set(all).size).toBe(all.length)
    for (const { release } of starts) release()
  })

  it('are the same at the next start, except one that is taken', async () => {
    const data = await newData('a')
    const first = await choosePorts(data, 0)
    first.release()
    const server = createServer().listen(first.ports.nats, '127.0.0.1')
    await once(server, 'listening')
    const second = await choosePorts(data, undefined)
    second.release()
    server.close()
    expect(second.ports).toEqual({ ...first.ports, nats: expect.any(Number) })
    expect(second.ports.nats).not.toBe(first.ports.nats)
  })

  it('are none of those that SeaweedFS keeps beside another, also after a start that had two such', async () => {
    const data = await newData('a')
    const first = await choosePorts(data, 0)
    first.release()
    const beside = { ...first.ports, s3: first.ports.s3Master + 10_000 }
    await writeFile(data.portsFile, JSON.stringify(beside))
    const { ports, release } = await choosePorts(data, undefined)
    release()
    const all = Object.values(ports)
    expect(all.filter((port) => all.includes(port + 10_000))).toEqual([])
  })

  it('stay the same when an earlier start knew fewer services', async () => {
    const data = await newData('a')
    const first = await choosePorts(data, 0)
    first.release()
    const { janitorMetrics: _added, ...earlier } = first.ports
    await writeFile(data.portsFile, JSON.stringify(earlier))
    const second = await choosePorts(data, undefined)
    second.release()
    expect(second.ports).toEqual({ ...first.ports, janitorMetrics: expect.any(Number) })
  })

  it('give way to the API where it insists on one of them', async () => {
    const data = await newData('a')
    const first = await choosePorts(data, 0)
    first.release()
    const second = await choosePorts(data, first.ports.nats)
    second.release()
    expect(second.ports.http).toBe(first.ports.nats)
    expect(second.ports).toEqual({
      ...first.ports,
      http: first.ports.nats,
      nats: expect.any(Number),
    })
  })

  it('are released when a port that was insisted on is taken', async () => {
    const holder = await choosePorts(await newData('a'), 0)
    const data = await newData('b')
    await expect(choosePorts(data, holder.ports.http)).rejects.toThrow('is in use')
    holder.release()
    const again = await choosePorts(data, holder.ports.http)
    expect(again.ports.http).toBe(holder.ports.http)
    again.release()
  })
})

describe('the data folder', () => {
  it('belongs to one system until it is released', async () => {
    const data = await newData('a')
    const claim = await claimDataFolder(data)
    await expect(claimDataFolder(data)).rejects.toThrow('already running')
    await claim.stopping()
    const next = claimDataFolder(data)
    await claim.release()
    await (await next).release()
  })

  it('is free when its last owner is dead or wrote nonsense', async () => {
    const data = await newData('a')
    for (const left of [`{"pid":${process.pid},"started":"1"}`, '{"pid":', '']) {
      await writeFile(data.supervisorFile, left)
      await (await claimDataFolder(data)).release()
    }
  })

  it('marks its processes; a copy of it, or a stranger with the same path, is not marked', async () => {
    const data = await newData('a')
    const mark = await ensureStackMark(data)
    expect(await ensureStackMark(data)).toBe(mark)
    const copy = await newData('copy')
    await copyFile(data.markFile, copy.markFile)
    expect(await ensureStackMark(copy)).not.toBe(mark)

    const idle = 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1e6); console.log("up")'
    const start = async (env: Record<string, string>) => {
      const child = spawn(process.execPath, ['-e', idle], { env })
      await once(child.stdout, 'data')
      return child
    }
    const ours = await start({ [stackMarkVariable]: mark })
    const theirs = await start({ AVATAR_DATA_DIR: data.path })
    expect(await stopLeftovers(mark)).toEqual([ours.pid])
    await until(() => ours.signalCode === 'SIGKILL')
    expect(theirs.exitCode ?? theirs.signalCode).toBeNull()
    theirs.kill('SIGKILL')
  })

  it('that cannot be created is reported in one sentence', async () => {
    await writeFile(join(folder, 'file'), '')
    const refused = await avatar(['up', '--data', join(folder, 'file', 'x')], quick)
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' })
    expect(refused.stderr).toMatch(/^avatar: \S+ cannot be used: .*\n$/)
  })
})

describe('avatar up', () => {
  it('cleans up after a supervisor that was killed, and takes the same ports', async () => {
    const path = join(folder, 'data')
    const main = resolve(import.meta.dirname, '../src/main.ts')
    const args = [main, 'up', '--data', path, '--port', '0']
    const killed = spawn(process.execPath, args, { env: { ...process.env, ...quick } })
    let text = ''
    killed.stdout.on('data', (chunk) => {
      text += chunk
    })
    await until(() => text.includes('avatar-api ready'), { what: 'ready' })
    const before = await readStackFile(dataFolder(path))
    killed.kill('SIGKILL')
    await once(killed, 'exit')

    const doctor = await avatar(['doctor', '--data', path])
    expect(doctor.stdout).toContain(`→ npx avatar up --data ${path}`)

    const next = launch(['up', '--data', path], quick)
    await until(() => next.stdout().includes('started nats'))
    expect((await readStackFile(dataFolder(path)))?.processes.nats.pid).not.toBe(
      before?.processes.nats.pid,
    )
    const url = await readyUrl(next)
    expect(url).toBe(before?.url)
    expect(next.stdout()).toContain('left-over processes')
    for (const { pid } of Object.values(before?.processes ?? {}))
      expect(() => process.kill(pid, 0)).toThrow('ESRCH')
    next.signal('SIGTERM')
    expect(await next.exitCode).toBe(0)
    expect((await readdir(path)).filter((name) => /stack.json|supervisor|tmp/.test(name))).toEqual(
      [],
    )
  })

  it('can be stopped in the middle of a start, and kills everything at a second Ctrl-C', async () => {
    const path = join(folder, 'data')
    const run = launch(['up', '--data', path, '--port', '0'], quick)
    await until(() => run.stdout().includes('started nats'))
    run.signal('SIGINT')
    expect(await run.exitCode).toBe(0)
    expect(run.stdout()).not.toContain('avatar-api ready')

    const again = launch(['up', '--data', path, '--port', '0'], quick)
    await readyUrl(again)
    const { processes } = (await readStackFile(dataFolder(path))) ?? { processes: undefined }
    process.kill(processes?.ingest.pid ?? 0, 'SIGSTOP') // It will not answer SIGTERM.
    again.signal('SIGINT')
    await until(() => again.stdout().includes('stopping'))
    let exitCode: number | undefined
    void again.exitCode.then((code) => {
      exitCode = code
    })
    const insisted = () => {
      again.signal('SIGINT')
      return exitCode !== undefined
    }
    await until(insisted, { everyMs: 200, what: 'the end' })
    expect(exitCode).toBe(1)
    for (const { pid } of Object.values(processes ?? {}))
      expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  })
})

describe('the exit code of avatar up', () => {
  it('is 1 when a service did not stop in order, which is named', async () => {
    const path = join(folder, 'data')
    const run = launch(['up', '--data', path, '--port', '0'], quick)
    await readyUrl(run)
    const pid = (await readStackFile(dataFolder(path)))?.processes.janitor.pid ?? 0
    process.kill(pid, 'SIGSTOP') // It cannot handle SIGTERM.
    run.signal('SIGINT')
    // All are told at the same moment, a moment after the line that says so.
    await until(() => /orchestrator +ended with code 0/.test(run.stdout()))
    process.kill(pid, 'SIGKILL')
    expect(await run.exitCode).toBe(1)
    expect(run.stdout()).toMatch(/avatar +stopped; not in order: janitor\n$/)
  })
})

describe('avatar demo', () => {
  it('starts everything, renders the example, and leaves only the video behind', async () => {
    const out = join(folder, 'out', 'demo.mp4')
    const path = join(folder, 'demo')
    const shown = await avatar(['demo', '--out', out, '--data', path], quick)
    expect(shown.exitCode).toBe(0)
    const [first, second] = shown.stdout.split('\n')
    expect(first).toBe(out)
    expect(second).toMatch(/^\d+×\d+, 25 fps, .* engine null: rendered in .* s, .* s in all$/)
    expect((await readFile(out)).subarray(4, 8).toString()).toBe('ftyp')
    expect(await readdir(folder)).toEqual(['out'])
  })

  it('takes other files, and says why they are refused', async () => {
    await mkdir(join(folder, 'own'))
    const image = join(folder, 'own', 'face.png')
    await writeFile(image, 'no picture')
    const path = join(folder, 'demo')
    const refused = await avatar(['demo', '--image', image, '--data', path], quick)
    expect(refused.exitCode).toBe(3)
    expect(refused.stderr).toMatch(/avatar: Image must be PNG or JPEG. \(INVALID_IMAGE_FORMAT\)\n$/)
    expect(refused.stderr).not.toContain('started ingest')
    expect(await readdir(folder)).toEqual(['own'])
    expect((await avatar(['demo', '--audio', 'nowhere.wav'], quick)).exitCode).toBe(2)
    // Not the fault of the media: here the path of the video is a folder.
    const failed = await avatar(['demo', '--out', folder, '--data', path], quick)
    expect(failed.exitCode).toBe(2)
    expect(failed.stderr).toContain('avatar       started ingest')
  })
})
