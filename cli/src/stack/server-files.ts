import { renderNatsConf, renderS3Identities } from '@avatar/backing-services'
import type { Credentials } from './credentials.ts'
import { type DataFolder, writePrivately } from './data-folder.ts'
import type { Ports } from './ports.ts'

/** The one bucket of the system, for inputs and outputs. */
export const bucket = 'media'

/** Writes the users and rights that the broker and the store read at their start and on reload. */
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
      reloadPassword: credentials.natsReload,
      publishers: Object.fromEntries(publishers.map(([name, its]) => [name, its.natsPassword])),
      poolUsers: credentials.poolUsers,
    }),
  )
  await writePrivately(
    data.s3Identities,
    renderS3Identities({
      bucket,
      ours: credentials.s3,
      publishers: Object.fromEntries(publishers.map(([name, its]) => [name, its.s3])),
    }),
  )
}
