import { intakePrefix } from '@avatar/contracts'
import { renderNatsConf } from '@avatar/service-kit'
import type { Credentials } from './credentials.ts'
import { type DataFolder, writePrivately } from './data-folder.ts'
import type { Ports } from './ports.ts'

/** The one bucket of inputs and outputs. */
export const bucket = 'media'

/** Writes what the broker and the store read at start and on reload: their users and their rights. */
export async function writeServerFiles(data: DataFolder, credentials: Credentials, ports: Ports) {
  const publishers = Object.entries(credentials.publishers)
  await writePrivately(
    data.natsConf,
    renderNatsConf({
      host: '127.0.0.1',
      port: ports.nats,
      monitorPort: ports.natsMonitor,
      storeDir: data.natsStore,
      passwords: credentials.nats,
      publishers: Object.fromEntries(publishers.map(([name, its]) => [name, its.natsPassword])),
    }),
  )
  await writePrivately(data.s3Identities, renderS3Identities(credentials))
}

/** SeaweedFS' identities: ours may do everything, a publisher only what is in its own folder. */
export function renderS3Identities({ s3, publishers }: Credentials): string {
  const ours = s3Identity('avatar', s3, ['Admin', 'Read', 'Write', 'List'])
  const theirs = Object.entries(publishers).map(([name, its]) =>
    s3Identity(
      name,
      its.s3,
      ['Read', 'Write'].map((action) => `${action}:${bucket}/${intakePrefix(name)}*`),
    ),
  )
  return `${JSON.stringify({ identities: [ours, ...theirs] }, null, 2)}\n`
}

function s3Identity(
  name: string,
  { accessKeyId, secretAccessKey }: Credentials['s3'],
  actions: readonly string[],
) {
  return {
    name,
    credentials: [{ accessKey: accessKeyId, secretKey: secretAccessKey }],
    actions,
  }
}
