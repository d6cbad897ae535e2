import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import type { FailureCode } from '@avatar/contracts'
import { createLog } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { blackPng, hasFfmpeg, photo, plain, wav } from './media-fixtures.ts'
import { createMediaWorld, type MediaWorld, pidsNaming } from './media-world.ts'

const isLinux = process.platform === 'linux'
/** A command line that no other process has. */
const endless = `sleep 86399.${process.pid}`
const worlds: MediaWorld[] = []

afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close()
})

async function createWorld(options: Parameters<typeof createMediaWorld>[0] = {}) {
  const world = await createMediaWorld(options)
  worlds.push(world)
  return world
}

const portrait = () => photo(300, 300).jpeg().toBuffer()
/** Takes a checker seconds. It is the largest that is allowed. */
const slowImage = () =>
  plain(5_000, 8_000, '#a54').ensureAlpha(0.5).toColourspace('rgb16').png().toBuffer()
/** Of a rate that is not kept, so that it needs the decoder. */
const unusualWav = () => wav({ seconds: 1, sampleRate: 96_000 })

/** A program in place of ffmpeg. */
async function program(world: MediaWorld, script: string): Promise<string> {
  const path = await world.upload(`#!/bin/sh\n${script}\n`, 'program.sh')
  await chmod(path, 0o755)
  return path
}

/** A world whose decoder is a shell script. */
async function createScriptedWorld(
  script: string,
  options: Parameters<typeof createMediaWorld>[0] = {},
) {
  const path = await program(await createWorld(), script)
  return { world: await createWorld({ ffmpegPath: path, ...options }), path }
}

/** Expects audio that needs the decoder to be refused. */
async function refusedAudio(world: MediaWorld, code: FailureCode = 'AUDIO_UNREADABLE') {
  return world.refused(
    world.checks.checkAudio(await world.upload(unusualWav()), world.outDir),
    code,
  )
}

/** Whether exactly one checker lives, and not one of these. */
async function isReplaced(world: MediaWorld, before: readonly number[]): Promise<boolean> {
  const [pid = 0, ...others] = await world.checkerPids()
  return pid > 0 && others.length === 0 && !before.includes(pid)
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function suspend(pids: readonly number[]) {
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
}

describe('a checker process', () => {
  it('that hangs is killed at the wall-clock limit and replaced', async () => {
    const world = await createWorld({ concurrency: 1, bounds: { imageWallMs: 2_000 } })
    await world.checks.start()
    const hanging = await world.checkerPids()
    expect(hanging).toHaveLength(1)
    suspend(hanging)

    const path = await world.upload(await portrait())
    const error = await world.refused(
      world.checks.checkImage(path, world.outDir),
      'IMAGE_UNREADABLE',
    )
    expect(error.message).toContain('too long')
    expect(await world.checks.checkImage(path, world.outDir)).toMatchObject({ width: 300 })
    expect(await world.checkerPids()).not.toContain(hanging[0])
  })

  it('that is killed during a check is replaced, and the check passes', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    const pids = await world.checkerPids()
    suspend(pids)
    const checked = world.checks.checkImage(await world.upload(await portrait()), world.outDir)
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    expect(await checked).toMatchObject({ width: 300 })
  })

  it('that is killed while idle is replaced at the next check', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    const pids = await world.checkerPids()
    for (const pid of pids) process.kill(pid, 'SIGSEGV')
    // A process that ends has lost its command line, but not its channel, when a list no longer shows it.
    await until(() => !pids.some(isThere))
    const path = await world.upload(await portrait())
    expect(await world.checks.checkImage(path, world.outDir)).toMatchObject({ width: 300 })
  })

  it('ends at its limit of CPU time, which is the image’s fault', async () => {
    const world = await createWorld({ concurrency: 1, bounds: { checkerCpuSeconds: 2 } })
    const path = await world.upload(await slowImage())
    const checkOften = async () => {
      for (let time = 0; time < 6; time++) {
        const { path: out } = await world.checks.checkImage(path, world.outDir)
        await rm(out)
      }
    }
    const error = await world.refused(checkOften(), 'IMAGE_UNREADABLE')
    expect(String(error.cause)).toContain('SIGXCPU')
  })

  it.runIf(isLinux)('gets no more memory than its limit', async () => {
    const interlaced = plain(5_000, 8_000, '#a54').toColourspace('rgb16').png({ progressive: true })
    const world = await createWorld({ bounds: { checkerMemoryBytes: 700 * 2 ** 20 } })
    const path = await world.upload(await interlaced.toBuffer())
    await world.refused(world.checks.checkImage(path, world.outDir), 'IMAGE_UNREADABLE')
    const small = await world.upload(await portrait())
    expect(await world.checks.checkImage(small, world.outDir)).toMatchObject({ width: 300 })
  })

  it('cannot write a larger file than its limit', async () => {
    const world = await createWorld({ bounds: { fileBytes: 2 ** 18 } })
    const path = await world.upload(await photo(1_000, 1_000).jpeg().toBuffer())
    await world.refused(world.checks.checkImage(path, world.outDir), 'IMAGE_UNREADABLE')
  })

  it.each([
    ['a number of checks', { checkerWornChecks: 2 }],
    ['some CPU time', { checkerWornCpuSeconds: 0.001 }],
    ['a large image', { checkerWornRssBytes: 2 ** 20 }],
  ])('is replaced after %s', async (_name, bounds) => {
    const world = await createWorld({ concurrency: 1, bounds })
    await world.checks.start()
    const first = await world.checkerPids()
    const path = await world.upload(await portrait())
    await world.checks.checkImage(path, world.outDir)
    await world.checks.checkImage(path, world.outDir)
    await until(() => isReplaced(world, first))
  })

  it('is replaced after an image that its decoder could not read, and kept after others', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    const first = await world.checkerPids()
    const gif = await world.upload(await plain(200, 200, '#456').gif().toBuffer())
    await world.refused(world.checks.checkImage(gif, world.outDir), 'INVALID_IMAGE_FORMAT')
    const cut = await world.upload((await portrait()).subarray(0, 1_000))
    await world.refused(world.checks.checkImage(cut, world.outDir), 'IMAGE_UNREADABLE')
    expect(await world.checkerPids()).toEqual(first)

    const damaged = await photo(300, 300).png().toBuffer()
    damaged.fill(0, Math.floor(damaged.length / 2))
    const path = await world.upload(damaged)
    await world.refused(world.checks.checkImage(path, world.outDir), 'IMAGE_UNREADABLE')
    await until(() => isReplaced(world, first))
  })

  it('that cannot be replaced is logged and counted by its failure code', async () => {
    const failures: string[] = []
    const lines: string[] = []
    const log = createLog('test', 'info', {
      destination: { write: (line) => void lines.push(line) },
      countFailure: (code) => failures.push(code),
    })
    const world = await createWorld({ concurrency: 1, bounds: { checkerWornChecks: 1 }, log })
    await world.checks.start()
    await rm(world.tempDir, { recursive: true })
    await symlink('/nowhere/at/all', world.tempDir)
    await world.checks.checkImage(await world.upload(await portrait()), world.outDir)
    await until(() => failures.length > 0)
    expect(failures).toEqual(['UNEXPECTED'])
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      ...{ level: 'error', code: 'UNEXPECTED', msg: 'checker did not start' },
    })
  })

  it.runIf(isLinux)('sees none of our environment', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    const [pid] = await world.checkerPids()
    const names = (await readFile(`/proc/${pid}/environ`, 'utf8'))
      .split('\0')
      .map((entry) => entry.split('=')[0])
    expect(names).toContain('TMPDIR')
    for (const name of ['PATH', 'HOME', 'USER', 'VITEST']) expect(names).not.toContain(name)
  })

  it('dies with a killed service and removes its own folder', async () => {
    const world = await createWorld()
    const args = [join(import.meta.dirname, 'media-parent.ts'), process.execPath, world.tempDir]
    const service = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(service.stdout, 'data')
    expect(await world.checkerPids()).toHaveLength(2)
    service.kill('SIGKILL')
    await until(async () => (await pidsNaming(world.tempDir)).length === 0)
    // Compiled code stays for the next start to remove.
    await until(async () => (await readdir(world.tempDir)).join() === 'compile-cache')
  })

  it('leaves its compiled code for the next', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    expect(await readdir(join(world.tempDir, 'compile-cache'))).not.toEqual([])
  })
})

describe('the decoder', () => {
  it('that hangs is killed at the wall-clock limit with all its children', async () => {
    const { world } = await createScriptedWorld(`${endless} & wait`, {
      bounds: { audioWallMs: 500 },
    })
    const error = await refusedAudio(world)
    expect(error.message).toContain('too long')
    await until(async () => (await pidsNaming(endless)).length === 0)
  })

  it('ends at its limit of CPU time, which is the audio’s fault', async () => {
    const { world } = await createScriptedWorld('while :; do :; done', {
      bounds: { decoderCpuSeconds: 1 },
    })
    const error = await refusedAudio(world)
    expect(String(error.cause)).toContain('SIGXCPU')
  })

  it('cannot write a larger file than its limit', async () => {
    const { world } = await createScriptedWorld(
      'for out; do :; done; yes > "$(echo $out | cut -c 6-)"',
      {
        bounds: { fileBytes: 2 ** 16 },
      },
    )
    await refusedAudio(world)
  })

  it('gets none of our environment', async () => {
    const { world, path: script } = await createScriptedWorld('env > "$0.env"; exit 1')
    await refusedAudio(world)
    const names = (await readFile(`${script}.env`, 'utf8')).match(/^\w+(?==)/gm) ?? []
    // The shell sets these itself.
    expect(names.filter((name) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(name))).toEqual([])
  })

  it.runIf(hasFfmpeg)('that is killed from outside is started a second time', async () => {
    const { world } = await createScriptedWorld(
      '[ -e "$0.once" ] || { : > "$0.once"; kill -9 $$; }; exit 1',
    )
    const error = await refusedAudio(world)
    expect(String(error.cause)).toContain('ffmpeg: 1:')
  })

  it('that is missing is our fault, at the start and at a check', async () => {
    const { world, path: script } = await createScriptedWorld('exit 1')
    await world.checks.start()
    await rename(script, `${script}.gone`)
    await refusedAudio(world, 'UNEXPECTED')
    await expect(world.checks.start()).rejects.toMatchObject({ code: 'UNEXPECTED' })
  })
})

describe.runIf(existsSync('/dev/full'))('a full disk is no fault of the medium', () => {
  it.each([
    ['an image', 'normalised', portrait, 'checkImage'],
    ['plain audio', 'normalised.wav', async () => wav({ seconds: 1 }), 'checkAudio'],
  ] as const)('%s', async (_name, suffix, make, check) => {
    const world = await createWorld()
    const path = await world.upload(await make())
    await symlink('/dev/full', join(world.outDir, `${basename(path)}.${suffix}`))
    await world.refused(world.checks[check](path, world.outDir), 'STORAGE_FULL')
  })

  it.runIf(hasFfmpeg)('decoded audio', async () => {
    const world = await createWorld()
    const path = await world.upload(unusualWav())
    await symlink('/dev/full', join(world.outDir, `${basename(path)}.decoded.wav`))
    await world.refused(world.checks.checkAudio(path, world.outDir), 'STORAGE_FULL')
  })
})

describe('the checks', () => {
  itKeepsTheRunnableContract(async () => {
    const world = await createWorld({ concurrency: 1, ffmpegPath: process.execPath })
    return { runnable: world.checks, atWork: async () => (await world.checkerPids()).length }
  })

  it('run one after another past the limit of concurrency', async () => {
    // Each decoder reports its start and then waits until a line comes through the gate.
    const script = 'echo >> "$0.started"; read line < "$0.gate"; exit 1'
    const { world, path: decoder } = await createScriptedWorld(script, { concurrency: 1 })
    await promisify(execFile)('mkfifo', [`${decoder}.gate`])
    const path = await world.upload(unusualWav())
    const checks = Array.from({ length: 4 }, () =>
      world.refused(world.checks.checkAudio(path, world.outDir), 'AUDIO_UNREADABLE'),
    )
    const startedLines = () => readFile(`${decoder}.started`, 'utf8').catch(() => '')
    for (let released = 0; released < checks.length; released++) {
      await until(async () => (await startedLines()).length > released)
      expect(await startedLines()).toHaveLength(released + 1)
      await writeFile(`${decoder}.gate`, '\n')
    }
    await Promise.all(checks)
    expect(await startedLines()).toHaveLength(checks.length)
    expect(await world.checkerPids()).toHaveLength(1)
  })

  it('stop at once during and before a check, and leave nothing behind', async () => {
    const { world } = await createScriptedWorld(`${endless} & wait`, { concurrency: 1 })
    await world.checks.start()
    const path = await world.upload(unusualWav())
    const image = await world.upload(blackPng(200, 200))
    const decoding = world.checks.checkAudio(path, world.outDir)
    await until(async () => (await pidsNaming(endless)).length > 0)
    const queued = world.checks.checkImage(image, world.outDir)
    const outcomes = Promise.allSettled([decoding, queued])

    await world.checks.stop()
    expect(await readdir(world.tempDir)).toEqual([])
    expect(await readdir(world.outDir)).toEqual([])
    expect(await pidsNaming(endless)).toEqual([])
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'DRAINING' } })
    }
    await world.refused(world.checks.checkImage(image, world.outDir), 'DRAINING')
  })

  it('go on with the same children when started twice, and with others after a stop', async () => {
    const world = await createWorld({ ffmpegPath: process.execPath })
    await world.checks.start()
    const [children, folders] = [await world.checkerPids(), await readdir(world.tempDir)]
    await world.checks.start()
    expect(children).toHaveLength(2)
    expect(await world.checkerPids()).toEqual(children)
    expect(await readdir(world.tempDir)).toEqual(folders)
    await world.checks.stop()
    await world.checks.start()
    const path = await world.upload(await portrait())
    expect(await world.checks.checkImage(path, world.outDir)).toMatchObject({ width: 300 })
  })

  it('remove at their start what the children of a killed service left', async () => {
    const world = await createWorld({ ffmpegPath: process.execPath })
    await mkdir(join(world.tempDir, 'checker-left'), { recursive: true })
    await world.checks.start()
    expect(await readdir(world.tempDir)).not.toContain('checker-left')
  })

  it('are our failure when an upload is gone', async () => {
    const world = await createWorld()
    await world.refused(world.checks.checkImage('/nowhere/upload', world.outDir), 'UNEXPECTED')
  })
})
