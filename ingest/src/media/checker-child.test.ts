import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { logLineSchema } from '@avatar/contracts'
import { expect, it } from 'vitest'

const program = join(import.meta.dirname, 'checker-child.ts')
/** Loaded before the program, it fails at the first message. */
const failing = `process.on('message', () => { throw new Error('told password=hunter22') })`

it('a checker that fails where nobody catches it ends with one line, which holds no secret', async () => {
  const home = await mkdtemp(join(tmpdir(), 'avatar-checker-'))
  const child = fork(program, [home], {
    execArgv: ['--import', `data:text/javascript,${encodeURIComponent(failing)}`],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const said: Buffer[] = []
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (data: Buffer) => said.push(data))
  try {
    await once(child, 'message') // It is ready.
    child.send({ op: 'locateAudio', path: '/nowhere' })
    const [exitCode] = await once(child, 'close')
    expect(exitCode).toBe(1)
    const line = logLineSchema.parse(JSON.parse(Buffer.concat(said).toString()))
    expect(line).toMatchObject({
      ...{ level: 'fatal', service: 'ingest', origin: 'uncaughtException' },
      err: { message: 'told password=[redacted]' },
    })
  } finally {
    child.kill('SIGKILL')
    await rm(home, { recursive: true, force: true })
  }
})
