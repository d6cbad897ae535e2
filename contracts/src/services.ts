/**
 * Every process of the system. Whatever lists them derives its list from this table: users of the
 * broker, what `avatar up` starts and how, `stack.json`, log prefixes, doctor, the test harness.
 *
 * To add a service:
 * 1. Add its row below.
 * 2. Add its rights in `users.ts`, and what it must not do in
 *    `backing-services/test/permission-matrix.ts`. Neither compiles without it.
 * 3. Write `<name>/src/main.ts`, and name the folder where folders are listed: `package.json`,
 *    `tsconfig.json`, `vitest.config.ts`, `scripts/check/boundaries.ts`, and `scripts/generate/configuration.ts`
 *    for its variables.
 */
export type ProcessSpec = {
  /** A server that others made, a service on Node (`<name>/src/main.ts`), or the one in Python. */
  readonly kind: 'server' | 'node' | 'python'
  /**
   * Its ports: the name in `stack.json`, then the name in `ports.json`. A service with a `metrics`
   * port serves /metrics, /livez and /readyz there.
   */
  readonly ports: Readonly<Record<string, string>>
  /** Ports that are kept free for it and that `stack.json` does not name. */
  readonly reservedPorts?: Readonly<Record<string, string>>
  /** What it is given: the keys of the store, a folder for media on their way, the path of ffmpeg. */
  readonly needs?: readonly ('store' | 'spool' | 'ffmpeg')[]
  /** The container image that runs it. All services on Node are in one. */
  readonly image: string
}

/** In the order in which they start, servers first. They stop the other way round. */
export const services = {
  nats: { kind: 'server', ports: { client: 'nats', monitor: 'natsMonitor' }, image: 'nats' },
  s3: {
    kind: 'server',
    ports: {
      s3: 's3',
      master: 's3Master',
      filer: 's3Filer',
      volume: 's3Volume',
      admin: 's3Admin',
    },
    reservedPorts: { webdav: 's3Webdav' },
    image: 'chrislusf/seaweedfs',
  },
  ingest: {
    kind: 'node',
    ports: { http: 'http', metrics: 'ingestMetrics' },
    needs: ['store', 'spool', 'ffmpeg'],
    image: 'avatar-api',
  },
  orchestrator: {
    kind: 'node',
    ports: { metrics: 'orchestratorMetrics' },
    needs: ['store'],
    image: 'avatar-api',
  },
  janitor: {
    kind: 'node',
    ports: { metrics: 'janitorMetrics' },
    needs: ['store'],
    image: 'avatar-api',
  },
  // No keys of the store: it gets a URL for each object that it may read or write.
  sidecar: {
    kind: 'python',
    ports: {},
    needs: ['spool', 'ffmpeg'],
    image: 'avatar-sidecar',
  },
} as const satisfies Record<string, ProcessSpec>

export type ProcessName = keyof typeof services
type NameOfKind<Kind> = {
  [Name in ProcessName]: (typeof services)[Name]['kind'] extends Kind ? Name : never
}[ProcessName]
export type ServerName = NameOfKind<'server'>
export type ServiceName = Exclude<ProcessName, ServerName>

export const processNames = Object.keys(services) as readonly ProcessName[] // keys() forgets them.
export const serverNames = processNames.filter((name): name is ServerName => !isService(name))
export const serviceNames = processNames.filter(isService)
/** The services that serve /metrics, /livez and /readyz. */
export const monitoredServices = serviceNames.filter((name) => 'metrics' in services[name].ports)

/** One value for each of some names. */
export function recordOf<Name extends string, Value>(
  names: readonly Name[],
  make: (name: Name) => Value,
): Record<Name, Value> {
  const entries = names.map((name) => [name, make(name)])
  return Object.fromEntries(entries) as Record<Name, Value> // Object.fromEntries forgets the names.
}

/** The row of a process, with every column it may have. */
export function specOf(name: ProcessName): ProcessSpec {
  return services[name]
}

function isService(name: ProcessName): name is ServiceName {
  return services[name].kind !== 'server'
}
