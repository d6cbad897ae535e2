import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  openPublisher,
  portrait,
  runExamplePublisher,
  type System,
  startSystem,
  voice,
} from '../harness/index.ts'

describe('another service', () => {
  let system: System
  let folder: string
  let acme: ReturnType<typeof openPublisher>

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'avatar-publisher-'))
    system = await startSystem()
    acme = openPublisher(await createPublisher('acme'))
    await writeFile(join(folder, 'face.png'), portrait())
    await writeFile(join(folder, 'voice.wav'), voice({ seconds: 1 }))
  })
  afterAll(async () => {
    acme?.close()
    await rm(folder, { recursive: true, force: true })
    expect(await system.stop()).toEqual([])
  })

  async function createPublisher(name: string): Promise<string> {
    const { stdout } = await system.cli('publishers', 'create', name, '--json')
    await writeFile(join(folder, `${name}.json`), stdout)
    return stdout
  }

  function publish(name: string, image = 'face.png') {
    return runExamplePublisher({
      credentials: join(folder, `${name}.json`),
      image: join(folder, image),
      audio: join(folder, 'voice.wav'),
      out: join(folder, `${name}.mp4`),
    })
  }

  it('gets its video by messages alone, with nothing but its credentials', async () => {
    const { stdout } = await publish('acme')
    expect(stdout).toMatch(/^submitted .+\n.+acme\.mp4: 1 s by null\njob .+ completed\n$/)
    const video = await readFile(join(folder, 'acme.mp4'))
    expect(video.subarray(4, 8).toString()).toBe('ftyp')
  })

  it('gets the reason when there is no video', async () => {
    await writeFile(join(folder, 'broken.png'), 'no picture')
    await expect(publish('acme', 'broken.png')).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringContaining('rejected: INVALID_IMAGE_FORMAT'),
    })
  })

  it('can be added while jobs run, and disturbs none', async () => {
    const running = await system.client.submit({ prompt: 'null:seconds=3' })
    await createPublisher('other')
    const outcomes = await Promise.all([publish('acme'), publish('other')])
    for (const { stdout } of outcomes) expect(stdout).toContain('completed')
    const view = await system.client.untilEnded(running.jobId, 'completed')
    expect(view.attempt).toBe(1)
  })

  it('can read and write only its own folder of the store', async () => {
    const { jobId } = await system.client.submit()
    const [input = ''] = await (await system.store()).keys(`jobs/${jobId}/input/`)
    expect(await acme.put('intake/acme/a')).toBe(200)
    expect(await acme.get('intake/acme/a')).toBe(200)
    for (const key of [input, 'intake/other/a']) expect(await acme.get(key), key).toBe(403)
    expect(await acme.get('intake/acme/../other/a')).toBe(400)
    const output = `jobs/${jobId}/out/1/video.mp4`
    for (const key of [input, output, 'intake/other/a', 'intake/acme', 'intake/acme2/a'])
      expect(await acme.put(key), key).toBe(403)
    for (const prefix of ['', 'jobs/', 'intake/other/']) expect(await acme.list(prefix)).toBe(403)
    await system.client.untilEnded(jobId, 'completed')
  })

  it('can submit and receive notifications only for itself', async () => {
    expect(await acme.errorOf({ publish: 'intake.acme.job.submitted' })).toBeUndefined()
    expect(await acme.errorOf({ publish: 'intake.other.job.submitted' })).toContain('Permissions')
    expect(await acme.errorOf({ subscribe: 'notify.acme.>' })).toBeUndefined()
    expect(await acme.errorOf({ subscribe: 'notify.other.>' })).toContain('Permissions')
  })

  it('cannot be created twice, nor under the name of a service', async () => {
    for (const name of ['acme', 'ingest', 'Not A Name'])
      await expect(system.cli('publishers', 'create', name, '--json')).rejects.toMatchObject({
        stdout: '',
      })
  })

  it('can still submit after a restart of the broker and the store', async () => {
    await system.kill('nats')
    await system.kill('s3')
    const retried = async (tries: number): Promise<{ stdout: string }> =>
      publish('acme').catch((error) => (tries > 1 ? retried(tries - 1) : Promise.reject(error)))
    expect((await retried(5)).stdout).toContain('completed')
  })
})
