import {
  publisherAccount,
  publisherImports,
  publisherPermissions,
  type ServiceUser,
  serviceAccount,
  serviceExports,
  servicePermissions,
  serviceUsers,
  type UserPermissions,
} from '@avatar/contracts'

/** What the broker's configuration file is made of. */
type NatsConfInput = {
  host: string
  port: number
  /** The monitoring port; always on loopback. */
  monitorPort: number
  storeDir: string
  passwords: Readonly<Record<ServiceUser, string>>
  /** Publisher's name → password. */
  publishers: Readonly<Record<string, string>>
}

/**
 * The broker's configuration: JetStream on disk with every acknowledged publish synced, one user per
 * service with the least rights it needs, and an account for each publisher. NATS reads JSON as a
 * subset of its own format.
 *
 * NATS 2.15.1 connects the imports of a new account only at the second reload: after adding a publisher,
 * reload until the publisher reaches its consumer.
 */
export function renderNatsConf(input: NatsConfInput): string {
  const conf = {
    server_name: 'avatar-nats',
    listen: `${input.host}:${input.port}`,
    http: `127.0.0.1:${input.monitorPort}`,
    max_payload: 1_048_576,
    ping_interval: '20s',
    ping_max: 3,
    write_deadline: '10s',
    jetstream: {
      store_dir: input.storeDir,
      max_memory_store: 268_435_456,
      max_file_store: 53_687_091_200,
      // The default syncs every two minutes: a power failure could lose an acknowledged publish.
      sync_interval: 'always',
      limits: { default_max_consumers: 5000 },
    },
    accounts: {
      [serviceAccount]: services(input.passwords),
      ...Object.fromEntries(
        Object.entries(input.publishers).map(([name, password]) => [
          publisherAccount(name),
          publisher(name, password),
        ]),
      ),
    },
  }
  return `${JSON.stringify(conf, null, 2)}\n`
}

function services(passwords: NatsConfInput['passwords']) {
  return {
    jetstream: 'enabled',
    users: serviceUsers.map((user) => natsUser(user, passwords[user], servicePermissions[user])),
    exports: [
      ...serviceExports.services.map(({ subject, answers }) => ({
        service: subject,
        response_type: answers === 'many' ? 'stream' : 'singleton',
      })),
      ...serviceExports.streams.map((subject) => ({ stream: subject })),
    ],
  }
}

function publisher(name: string, password: string) {
  const { services, streams } = publisherImports(name)
  return {
    users: [natsUser(name, password, publisherPermissions(name))],
    imports: [
      ...services.map(({ subject, as }) => ({
        service: { account: serviceAccount, subject },
        ...(as === undefined ? {} : { to: as }),
      })),
      ...streams.map((subject) => ({ stream: { account: serviceAccount, subject } })),
    ],
  }
}

function natsUser(user: string, password: string, permissions: UserPermissions) {
  return {
    user,
    password,
    permissions: {
      publish: { allow: permissions.publish },
      subscribe: { allow: permissions.subscribe },
      ...(permissions.allowResponses ? { allow_responses: { max: 1, expires: '10s' } } : {}),
    },
  }
}
