import {
  poolUserPermissions,
  publisherAccount,
  publisherImports,
  publisherPermissions,
  reloadPermissions,
  reloadUser,
  type ServiceUser,
  serviceAccount,
  serviceExports,
  servicePermissions,
  serviceUsers,
  subjects,
  systemAccount,
  type UserPermissions,
} from '@avatar/contracts'

/** As whom the brokers of a cluster meet. */
const routeUser = 'route'

/** Where the server answers with its health. */
const healthSubject = '$SYS.REQ.SERVER.PING.HEALTHZ'

/** The brokers of a cluster: the port on which they meet, the `host:port` of each, and what lets them in. */
export type NatsCluster = {
  name: string
  port: number
  peers: readonly string[]
  password: string
}

/** What the broker's configuration file is made of. */
type NatsConfInput = {
  host: string
  port: number
  /** The monitoring port, which asks for no password; on loopback unless `monitorHost` says otherwise. */
  monitorPort: number
  monitorHost?: string
  /** Where workers come in by websocket. A proxy in front of it speaks TLS: here nothing is encrypted. */
  websocketPort?: number
  /** In a cluster each server gets a name of its own by `--name`. */
  cluster?: NatsCluster
  storeDir: string
  passwords: Readonly<Record<ServiceUser, string>>
  /** Of the user that reloads the broker. */
  reloadPassword: string
  /** Publisher's name → password. */
  publishers: Readonly<Record<string, string>>
  /** The users of workers elsewhere, each of one pool; a pool whose password is rotated has two. */
  poolUsers?: readonly PoolUser[]
}

/** A user of the workers of one pool, named by `poolUser`. */
export type PoolUser = { user: string; pool: string; password: string }

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
    http: `${input.monitorHost ?? '127.0.0.1'}:${input.monitorPort}`,
    max_payload: 1_048_576,
    ping_interval: '20s',
    ping_max: 3,
    write_deadline: '10s',
    ...(input.websocketPort === undefined
      ? {}
      : { websocket: { listen: `${input.host}:${input.websocketPort}`, no_tls: true } }),
    ...(input.cluster ? clusterOf(input.host, input.cluster) : {}),
    jetstream: {
      store_dir: input.storeDir,
      max_memory_store: 268_435_456,
      max_file_store: 53_687_091_200,
      // The default syncs every two minutes: a power failure could lose an acknowledged publish.
      sync_interval: 'always',
      limits: { default_max_consumers: 5000 },
    },
    system_account: systemAccount,
    accounts: {
      [systemAccount]: {
        users: [natsUser(reloadUser, input.reloadPassword, reloadPermissions)],
        exports: [{ service: healthSubject }],
      },
      [serviceAccount]: services(input.passwords, input.poolUsers ?? []),
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

function clusterOf(host: string, { name, port, peers, password }: NatsCluster) {
  return {
    cluster: {
      name,
      listen: `${host}:${port}`,
      // Whoever is let in here may say anything in the name of any user.
      authorization: { user: routeUser, password, timeout: 2 },
      routes: peers.map((peer) => `nats://${routeUser}:${password}@${peer}`),
      // Else clients are told the addresses of the single brokers, which nobody behind a proxy can reach.
      no_advertise: true,
    },
    // The shortest that the broker accepts.
    lame_duck_duration: '30s',
    lame_duck_grace_period: '5s',
  }
}

function services(passwords: NatsConfInput['passwords'], poolUsers: readonly PoolUser[]) {
  return {
    jetstream: 'enabled',
    imports: [
      {
        service: { account: systemAccount, subject: healthSubject },
        to: subjects.brokerHealth,
      },
    ],
    users: [
      ...serviceUsers.map((user) => natsUser(user, passwords[user], servicePermissions[user])),
      ...poolUsers.map(({ user, pool, password }) =>
        natsUser(user, password, poolUserPermissions(pool, user)),
      ),
    ],
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
