/**
 * A service of your own that orders videos by message. It stores a portrait and a voice in its folder
 * of the store, publishes a submission on its subject, waits for the outcome and fetches the video.
 *
 *   umask 077; npx avatar publishers create acme --json > acme.json
 *   npx node examples/publisher.ts --credentials acme.json \
 *     --image examples/portrait.jpg --audio examples/voice.wav --out out/acme.mp4
 *
 * `acme.json` holds what `publishers create` prints once, secrets included. The example uses nothing of
 * this repository, only a NATS client and an S3 client. Exit codes: 0 when the video is there, 1 when
 * there will be none, 2 for wrong arguments.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { type JetStreamClient, jetstream } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

type Credentials = {
  nats: {
    url: string
    user: string
    password: string
    inbox_prefix: string
    submit_subject: string
    notify_domain: string
    notify_stream: string
    notify_consumer: string
  }
  s3: {
    endpoint: string
    bucket: string
    prefix: string
    access_key_id: string
    secret_access_key: string
  }
}

/** A notification on `notify.<publisher>.job.<status>`. */
type Outcome = {
  job_id: string
  status: 'completed' | 'failed' | 'cancelled' | 'rejected'
  reference?: string
  result?: { url: string; sha256: string; bytes: number; video_seconds: number; engine: string }
  error?: { code: string; message: string }
}

const { values } = parseArgs({
  options: {
    credentials: { type: 'string' },
    image: { type: 'string' },
    audio: { type: 'string' },
    prompt: { type: 'string' },
    out: { type: 'string' },
  },
})
const { credentials, image, audio, out } = values
if (!credentials || !image || !audio || !out) {
  process.stderr.write(
    'usage: publisher.ts --credentials FILE --image FILE --audio FILE --out FILE\n',
  )
  process.exit(2)
}

const { nats, s3 } = JSON.parse(await readFile(credentials, 'utf8')) as Credentials
// Our own name for this submission. It comes back with the outcome, and publishing twice under it makes
// one job.
const reference = randomUUID()
const image_key = await store(image)
const audio_key = await store(audio)

const connection = await connect({
  servers: nats.url,
  user: nats.user,
  pass: nats.password,
  inboxPrefix: nats.inbox_prefix,
  maxReconnectAttempts: -1,
})
try {
  const submission = { image_key, audio_key, reference, idempotency_key: reference }
  const body = JSON.stringify({
    ...submission,
    ...(values.prompt ? { prompt: values.prompt } : {}),
  })
  await jetstream(connection).publish(nats.submit_subject, body)
  process.stdout.write(`submitted ${reference}\n`)

  const outcome = await outcomeOf(jetstream(connection, { domain: nats.notify_domain }))
  if (outcome.result) await fetchVideo(outcome.result, out)
  const reason = outcome.error ? `: ${outcome.error.code} ${outcome.error.message}` : ''
  process.stdout.write(`job ${outcome.job_id} ${outcome.status}${reason}\n`)
  process.exitCode = outcome.result ? 0 : 1
} finally {
  await connection.drain()
}

/** Stores a file in our own folder, the only one that our key may write to. */
async function store(path: string): Promise<string> {
  const client = new S3Client({
    region: 'auto',
    endpoint: s3.endpoint,
    forcePathStyle: true,
    credentials: { accessKeyId: s3.access_key_id, secretAccessKey: s3.secret_access_key },
  })
  const key = `${s3.prefix}${reference}/${basename(path).replaceAll(/[^A-Za-z0-9_.-]/g, '_')}`
  await client.send(
    new PutObjectCommand({ Bucket: s3.bucket, Key: key, Body: await readFile(path) }),
  )
  client.destroy()
  return key
}

/**
 * Reads our durable consumer, which also delivers outcomes from while we were down. A service with many
 * jobs would look up each reference instead of waiting for one.
 */
async function outcomeOf(js: JetStreamClient): Promise<Outcome> {
  const consumer = await js.consumers.get(nats.notify_stream, nats.notify_consumer)
  for await (const message of await consumer.consume({ max_messages: 10 })) {
    const outcome = message.json<Outcome>()
    message.ack()
    if (outcome.reference === reference) return outcome
  }
  throw new Error('the connection was closed before the job ended')
}

async function fetchVideo(result: NonNullable<Outcome['result']>, path: string): Promise<void> {
  const response = await fetch(result.url)
  const video = Buffer.from(await response.arrayBuffer())
  const sha256 = createHash('sha256').update(video).digest('hex')
  if (!response.ok || sha256 !== result.sha256)
    throw new Error(`the video could not be fetched: ${response.status}, ${video.length} bytes`)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, video)
  process.stdout.write(`${path}: ${result.video_seconds} s by ${result.engine}\n`)
}
