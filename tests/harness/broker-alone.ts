import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { until } from '@avatar/service-kit/testing'
import { z } from 'zod'

const natsServer = resolve(import.meta.dirname, '../../.venv/bin/nats-server')
const confSchema = z.object({ listen: z.string(), http: z.string() })
const credentialsSchema = z.object({ nats: z.object({ operator: z.string() }) })

/** The broker of a data folder without the rest of its system, which must not run. */
export async function startBrokerAlone(dataDir: string) {
  const confFile = join(dataDir, 'nats.conf')
  const conf = confSchema.parse(JSON.parse(await readFile(confFile, 'utf8')))
  const secrets = await readFile(join(dataDir, 'credentials.json'), 'utf8')
  const { nats } = credentialsSchema.parse(JSON.parse(secrets))
  const server = spawn(natsServer, ['-c', confFile], { stdio: 'ignore' })
  const isUp = () =>
    fetch(`http://${conf.http}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    )
  await until(isUp, { what: 'the broker' })
  return {
    /** For commands that are about this broker. */
    env: {
      NATS_URL: `nats://${conf.listen}`,
      NATS_USER: 'operator',
      NATS_PASSWORD: nats.operator,
    },
    async stop() {
      const gone = once(server, 'exit')
      server.kill('SIGTERM')
      await gone
    },
  }
}
