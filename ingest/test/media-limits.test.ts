import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { blackPng, hasFfmpeg, photo, plain, wav } from './media-fixtures.ts'
import { createMediaWorld, type MediaWorld, pidsNaming } from './media-world.ts'

const isLinux = process.platform === 'linux'
const waiting = { timeout: 10_000, interval: 20 }
/** A command line that nobody else runs. */
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
/** Takes the checker seconds: the longest that is allowed. */
const slowImage = () =>
  plain(5_000, 8_000, '#a54').ensureAlpha(0.5).toColourspace('rgb16').png().toBuffer()
/** Not plain PCM, so that it needs the decoder. */
const streamedWav = () => wav({ seconds: 1, claims: { dataBytes: 0xffffffff } })

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

function stopAll(pids: readonly number[]) {
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
}

describe('a checker process', () => {
  it('that hangs is killed at the wall clock, and replaced', async () => {
    const world = await createWorld({ concurrency: 1, bounds: { imageWallMs: 2_000 } })
    await world.checks.start()
    const hanging = await world.checkerPids()
    expect(hanging).toHaveLength(1)
    stopAll(hanging)

    const path = await world.upload(await portrait())
    const error = await world.refused(
      world.checks.checkImage(path, world.outDir),
      'IMAGE_UNREADABLE',
    )
    expect(error.message).toContain('too long')
    expect(await world.checks.checkImage(path, world.outDir)).toMatchObject({ width: 300 })
    expect(await world.checkerPids()).not.toContain(hanging[0])
  })

  it('that is killed in the middle of a check costs nobody anything', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    const pids = await world.checkerPids()
    stopAll(pids)
    const checked = world.checks.checkImage(await world.upload(await portrait()), world.outDir)
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    expect(await checked).toMatchObject({ width: 300 })
  })

  it('that is killed while idle is replaced at the next check', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    for (const pid of await world.checkerPids()) process.kill(pid, 'SIGSEGV')
    await vi.waitFor(async () => expect(await world.checkerPids()).toEqual([]), waiting)
    const path = await world.upload(await portrait())
    expect(await world.checks.checkImage(path, world.outDir)).toMatchObject({ width: 300 })
  })

  it('ends at its limit of CPU time, and the image is at fault', async () => {
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
  }, 60_000)

  it.runIf(isLinux)(
    'cannot have more memory than its limit',
    async () => {
      const interlaced = plain(5_000, 8_000, '#a54')
        .toColourspace('rgb16')
        .png({ progressive: true })
      const world = await createWorld({ bounds: { checkerMemoryBytes: 700 * 2 ** 20 } })
      const path = await world.upload(await interlaced.toBuffer())
      await world.refused(world.checks.checkImage(path, world.outDir), 'IMAGE_UNREADABLE')
      const small = await world.upload(await portrait())
      expect(await world.checks.checkImage(small, world.outDir)).toMatchObject({ width: 300 })
    },
    60_000,
  )

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
    await vi.waitFor(async () => {
      const now = await world.checkerPids()
      expect(now).toHaveLength(1)
      expect(now).not.toEqual(first)
    }, waiting)
  })

  it('is replaced after an unreadable image, and kept after a refused one', async () => {
    const world = await createWorld({ concurrency: 1 })
    await world.checks.start()
    const first = await world.checkerPids()
    const gif = await world.upload(await plain(200, 200, '#456').gif().toBuffer())
    await world.refused(world.checks.checkImage(gif, world.outDir), 'INVALID_IMAGE_FORMAT')
    expect(await world.checkerPids()).toEqual(first)

    const cut = await world.upload((await portrait()).subarray(0, 1_000))
    await world.refused(world.checks.checkImage(cut, world.outDir), 'IMAGE_UNREADABLE')
    await vi.waitFor(async () => {
      const now = await world.checkerPids()
      expect(now).toHaveLength(1)
      expect(now).not.toEqual(first)
    }, waiting)
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

  it('dies with the service, even one that was killed, and takes its folder along', async () => {
    const world = await createWorld()
    const args = [join(import.meta.dirname, 'media-parent.ts'), process.execPath, world.tempDir]
    const service = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(service.stdout, 'data')
    expect(await world.checkerPids()).toHaveLength(2)
    service.kill('SIGKILL')
    await vi.waitFor(async () => {
      expect(await pidsNaming(world.tempDir)).toEqual([])
      expect(await readdir(world.tempDir)).toEqual([])
    }, waiting)
  })
})

describe('the decoder', () => {
  it('that hangs is killed at the wall clock with all that it started', async () => {
    const { world } = await createScriptedWorld(`${endless} & wait`, {
      bounds: { audioWallMs: 500 },
    })
    const path = await world.upload(streamedWav())
    const error = await world.refused(
      world.checks.checkAudio(path, world.outDir),
      'AUDIO_UNREADABLE',
    )
    expect(error.message).toContain('too long')
    await vi.waitFor(async () => expect(await pidsNaming(endless)).toEqual([]), waiting)
  })

  it('ends at its limit of CPU time, and the audio is at fault', async () => {
    const { world } = await createScriptedWorld('while :; do :; done', {
      bounds: { decoderCpuSeconds: 1 },
    })
    const path = await world.upload(streamedWav())
    const error = await world.refused(
      world.checks.checkAudio(path, world.outDir),
      'AUDIO_UNREADABLE',
    )
    expect(String(error.cause)).toContain('SIGXCPU')
  })

  it('cannot write a larger file than its limit', async () => {
    const { world } = await createScriptedWorld(
      'for out; do :; done; yes > "$(echo $out | cut -c 6-)"',
      {
        bounds: { fileBytes: 2 ** 16 },
      },
    )
    const path = await world.upload(streamedWav())
    await world.refused(world.checks.checkAudio(path, world.outDir), 'AUDIO_UNREADABLE')
  })

  it('gets none of our environment', async () => {
    const { world, path: script } = await createScriptedWorld('env > "$0.env"; exit 1')
    const path = await world.upload(streamedWav())
    await world.refused(world.checks.checkAudio(path, world.outDir), 'AUDIO_UNREADABLE')
    const names = (await readFile(`${script}.env`, 'utf8')).match(/^\w+(?==)/gm) ?? []
    // The shell's own.
    expect(names.filter((name) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(name))).toEqual([])
  })

  it.runIf(hasFfmpeg)('that is killed from outside is started once more', async () => {
    const { world } = await createScriptedWorld(
      '[ -e "$0.once" ] || { : > "$0.once"; kill -9 $$; }; exit 1',
    )
    const path = await world.upload(streamedWav())
    const error = await world.refused(
      world.checks.checkAudio(path, world.outDir),
      'AUDIO_UNREADABLE',
    )
    expect(String(error.cause)).toContain('ffmpeg: 1:')
  })

  it('that is missing is our fault: at the start, and at a check', async () => {
    const { world, path: script } = await createScriptedWorld('exit 1')
    await world.checks.start()
    await rename(script, `${script}.gone`)
    const path = await world.upload(streamedWav())
    await world.refused(world.checks.checkAudio(path, world.outDir), 'UNEXPECTED')
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
    const path = await world.upload(streamedWav())
    await symlink('/dev/full', join(world.outDir, `${basename(path)}.decoded.wav`))
    await world.refused(world.checks.checkAudio(path, world.outDir), 'STORAGE_FULL')
  })
})

describe('the checks', () => {
  it('run no more than so many at once, and all of them', async () => {
    const script = 'mkdir "$0.lock" || : > "$0.overlap"; sleep 0.05; rmdir "$0.lock"; exit 1'
    const { world, path: script1 } = await createScriptedWorld(script, { concurrency: 1 })
    const path = await world.upload(streamedWav())
    const checks = Array.from({ length: 6 }, () => world.checks.checkAudio(path, world.outDir))
    const codes = (await Promise.allSettled(checks)).map(
      (check) => check.status === 'rejected' && check.reason.code,
    )
    expect(codes).toEqual(Array(6).fill('AUDIO_UNREADABLE'))
    expect(existsSync(`${script1}.overlap`)).toBe(false)
    expect(await world.checkerPids()).toHaveLength(1)
  })

  it('stop at once, whatever is going on, and leave nothing behind', async () => {
    const { world } = await createScriptedWorld(`${endless} & wait`, { concurrency: 1 })
    await world.checks.start()
    const path = await world.upload(streamedWav())
    const image = await world.upload(blackPng(200, 200))
    const decoding = world.checks.checkAudio(path, world.outDir)
    await vi.waitFor(async () => expect(await pidsNaming(endless)).not.toEqual([]), waiting)
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

  it('may be stopped before the start, twice, and started again', async () => {
    const world = await createWorld({ ffmpegPath: process.execPath })
    await world.checks.stop()
    await world.checks.start()
    expect(await world.checkerPids()).toHaveLength(2)
    await Promise.all([world.checks.stop(), world.checks.stop()])
    expect(await world.checkerPids()).toEqual([])
    await world.checks.start()
    const path = await world.upload(await portrait())
    expect(await world.checks.checkImage(path, world.outDir)).toMatchObject({ width: 300 })
  })

  it('blame us when an upload is gone', async () => {
    const world = await createWorld()
    await world.refused(world.checks.checkImage('/nowhere/upload', world.outDir), 'UNEXPECTED')
  })
})
