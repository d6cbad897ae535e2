import { errorEnvelopeSchema, limits } from '@avatar/contracts'
import { GenericContainer, type StartedTestContainer } from 'testcontainers'
import { beforeAll, expect, it } from 'vitest'
import { portrait, wavHeaderBytes, wavOf } from '../../harness/index.ts'
import { authorityOf, type Stack, siteOf } from '../stack.ts'
import type { TlsClient } from '../tls-client.ts'

const completedWithinMs = 180_000
const megabyte = 1_000_000

/**
 * From outside, through Caddy's TLS: the API, the media, and a worker that comes in by websocket. The network
 * of this worker is none of the stack's; from it, as from the host, only what is published can be reached.
 */
export function checkEdge(stackOf: () => Stack) {
  const site = (name: string) => siteOf(stackOf(), name)
  let tls: TlsClient
  beforeAll(async () => {
    tls = await stackOf().tls()
  })

  it('takes a voice of 50 MB', async () => {
    const { client } = stackOf()
    const { status, headers, body } = await submit(toneOf(limits.audioMaxBytes))
    expect(body.toString()).toContain('job_id')
    expect(status).toBe(201)
    expect(headers['strict-transport-security']).toBe('max-age=31536000')
    await client.cancel(JSON.parse(body.toString()).data.job_id)
  })

  it('passes on our own answer to a body of 70 MB', async () => {
    const { status, body } = await submit(toneOf(70 * megabyte))
    expect(errorEnvelopeSchema.parse(JSON.parse(body.toString())).error.code).toMatch(/TOO_LARGE/)
    expect(status).toBe(413)
  })

  it('passes on each event when it happens, and the video by its link', async () => {
    const { client, key } = stackOf()
    const { jobId } = await client.submit({ prompt: 'null:seconds=5' })
    const events: string[] = []
    const { message } = await tls.send(`${site('api')}/events/${jobId}`, bearer(key))
    for await (const chunk of message) {
      const text = String(chunk)
      events.push(...[...text.matchAll(/^event: (.+)$/gm)].map(([, name = '']) => name))
      // What is held back on the way would come when the job has long ended.
      if (events.length === 1) expect((await client.status(jobId)).finished_at).toBeFalsy()
    }
    expect(events.length).toBeGreaterThan(2)
    const video = await stackOf().download(jobId)
    expect(video.subarray(4, 8).toString('latin1')).toBe('ftyp')
  })

  it('lets a worker elsewhere complete a job without a key of the store', async () => {
    const { project, client, timed } = stackOf()
    const password = await project.exec('sidecar', 'cat', '/run/avatar/NATS_PASSWORD')
    await project.stop('sidecar')
    const worker = await startWorkerElsewhere(password).catch(async (error: unknown) => {
      await project.start('sidecar')
      throw error
    })
    try {
      const { jobId } = await client.submit({ prompt: 'null:seconds=1' })
      await timed('job of a worker elsewhere', () =>
        client.untilEnded(jobId, 'completed', completedWithinMs),
      )
      const { Config } = JSON.parse((await project.docker('inspect', worker.getId())).stdout)[0]
      expect(Config.Env.filter((line: string) => /^(R2|S3|AWS)_/.test(line))).toEqual([])
    } finally {
      await worker.stop({ timeout: 10_000 })
      await project.start('sidecar')
    }
  })

  const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })

  async function submit(audio: Buffer) {
    const form = new FormData()
    form.set('image', new Blob([new Uint8Array(portrait())]), 'face.png')
    form.set('audio', new Blob([new Uint8Array(audio)]), 'voice.wav')
    form.set('prompt', 'null:seconds=60')
    const encoded = new Response(form)
    const { key } = stackOf()
    return tls.bytes(`${site('api')}/generate`, {
      method: 'POST',
      headers: {
        ...bearer(key).headers,
        'content-type': encoded.headers.get('content-type') ?? '',
      },
      body: Buffer.from(await encoded.arrayBuffer()),
    })
  }

  /** It knows two names, the authority behind them, and the workers' password. */
  async function startWorkerElsewhere(password: string): Promise<StartedTestContainer> {
    const { project, outside } = stackOf()
    const authority = await authorityOf(stackOf())
    return (
      new GenericContainer('avatar-sidecar:preview')
        .withName(`${project.name}-elsewhere`)
        // Its orders name the store as the services reach it.
        .withNetworkMode(`${project.name}_edge`)
        .withExtraHosts(
          ['bus', 'media'].map((name) => ({
            host: `${name}.localhost`,
            ipAddress: outside.address,
          })),
        )
        .withCopyContentToContainer([{ content: authority, target: '/authority.crt' }])
        .withEnvironment({
          NATS_URL: `wss://bus.localhost:${outside.port}`,
          NATS_PASSWORD: password,
          SSL_CERT_FILE: '/authority.crt',
          ENGINE: 'null',
        })
        .start()
    )
  }
}

/** A tone of this many bytes: 48 kHz, stereo, 16 bit, so that 50 MB are less than five minutes. */
function toneOf(bytes: number): Buffer {
  const rate = 48_000
  const second = Buffer.alloc(rate * 4)
  for (let i = 0; i < rate * 2; i++)
    second.writeInt16LE(Math.round(15_000 * Math.sin((2 * Math.PI * 220 * (i >> 1)) / rate)), i * 2)
  return wavOf(Buffer.alloc(bytes - wavHeaderBytes, second), { rate, channels: 2 })
}
