/**
 * A service of your own that orders videos by messages. It uploads a portrait and a voice to its
 * folder of the store, publishes a job on its subject, waits for the outcome and downloads the video.
 *
 *   umask 077; npx avatar publishers create acme --json > acme.json
 *   npx node examples/publisher.ts --credentials acme.json \
 *     --image examples/portrait.jpg --audio examples/voice.wav --out out/acme.mp4
 *
 * `publishers create` prints its credentials only once; `acme.json` keeps them, so protect it. The code
 * uses nothing of this repository, only NATS and S3 clients of your choice. It exits with 0 when the
 * video is there, with 1 when there will be none, and with 2 when its options are wrong.
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

/** A message on `notify.<publisher>.job.<status>`. */
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
// Our own name for this job: the outcome carries it, and as idempotency key it makes one job of two
// publishes.
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
  const said = outcome.error ? `: ${outcome.error.code} ${outcome.error.message}` : ''
  process.stdout.write(`job ${outcome.job_id} ${outcome.status}${said}\n`)
  process.exitCode = outcome.result ? 0 : 1
} finally {
  await connection.drain()
}

/** Uploads a file to our own folder: our keys allow no other. */
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
 * Reads our durable consumer, which also has the outcomes of jobs that ended while we were away. A
 * service with many jobs would look up the reference of each outcome instead of waiting for one.
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
