import { type NatsCluster, renderNatsConf, renderS3Identities } from '@avatar/backing-services'
import { type ServerName, type ServiceName, serviceNames, specOf } from '@avatar/contracts'
import type { Credentials } from '../stack/credentials.ts'
import { bucket } from '../stack/server-files.ts'
import { selfSigned } from './self-signed.ts'

/** Whoever gets a folder of its own: nobody reads another's. */
export type Recipient = ServiceName | ServerName | 'operator'

/** File name → content, for each recipient. */
export type SecretFiles = ReadonlyMap<Recipient, Readonly<Record<string, string>>>

/** Where the servers listen and keep what they hold, inside their own machine or container. */
export type ServerPlaces = {
  natsStore: string
  cluster?: Omit<NatsCluster, 'password'>
}

/** Where the broker's image keeps its streams. */
export const natsStore = '/data'
const natsPorts = { port: 4222, monitorPort: 8222, websocketPort: 8443 } as const
const clusterPort = 6222

/** The id of the store's key: a name and no secret, which a deployment's own files can say. */
const storeAccessKeyId = 'avatar'

/**
 * What each service is given, as files whose names are its settings: `NATS_PASSWORD` goes in by
 * `NATS_PASSWORD_FILE`. The servers get their configuration, which holds the passwords of all.
 */
export function secretFilesOf(credentials: Credentials, places: ServerPlaces): SecretFiles {
  const store = { R2_SECRET_ACCESS_KEY: credentials.s3.secretAccessKey }
  const publishers = Object.entries(credentials.publishers)
  // SeaweedFS opens its S3 server's gRPC port wherever it opens S3. With these nobody else gets in.
  const door = selfSigned('s3', credentials.s3.secretAccessKey)
  const files = new Map<Recipient, Record<string, string>>([
    ['nats', { 'nats.conf': natsConfOf(credentials, places) }],
    [
      's3',
      {
        'identities.json': renderS3Identities({
          bucket,
          ours: { ...credentials.s3, accessKeyId: storeAccessKeyId },
          publishers: Object.fromEntries(publishers.map(([name, its]) => [name, its.s3])),
        }),
        'grpc.crt': door.certificate,
        'grpc.key': door.key,
      },
    ],
    ['operator', { NATS_PASSWORD: credentials.nats.operator, ...store }],
  ])
  for (const name of serviceNames)
    files.set(name, {
      NATS_PASSWORD: credentials.nats[name],
      ...(specOf(name).needs?.includes('store') ? store : {}),
    })
  return files
}

function natsConfOf(credentials: Credentials, { natsStore, cluster }: ServerPlaces) {
  const publishers = Object.entries(credentials.publishers)
  return renderNatsConf({
    host: '0.0.0.0',
    ...natsPorts,
    storeDir: natsStore,
    ...(cluster ? { cluster: { ...cluster, password: credentials.natsRoutes } } : {}),
    passwords: credentials.nats,
    reloadPassword: credentials.natsReload,
    publishers: Object.fromEntries(publishers.map(([name, its]) => [name, its.natsPassword])),
  })
}

/** The brokers of deploy/k8s/base/nats.yaml, by the service under which they find each other. */
export const natsCluster = {
  name: 'avatar',
  port: clusterPort,
  peers: [0, 1, 2].map((number) => `nats-${number}.nats-routes:${clusterPort}`),
}
