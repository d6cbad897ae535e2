import { randomInt } from 'node:crypto'
import { isPortFree, seaweedGrpcOffset } from '@avatar/backing-services'
import { type ProcessName, processNames, type services, specOf } from '@avatar/contracts'
import { z } from 'zod'
import { exitCodes, UserError } from '../exit-codes.ts'
import { type DataFolder, readIfThere, writePrivately } from './data-folder.ts'
import { type HeldName, holdName } from './held-name.ts'
import { type Instance, instancesOf } from './instances.ts'

const portSchema = z.int().min(1).max(65_535)

type Row = (typeof services)[ProcessName]
type ValueOf<T> = T extends unknown ? T[keyof T] : never
type PortName = ValueOf<Row['ports'] | Extract<Row, { reservedPorts: unknown }>['reservedPorts']>

const portNames = processNames.flatMap((name) => {
  const { ports, reservedPorts } = specOf(name)
  return Object.values({ ...ports, ...reservedPorts })
}) as PortName[] // Object.values forgets the names.
const portsSchema = z.record(z.enum(portNames), portSchema)

/** Every port of a stack by its name in `ports.json`; all on loopback. */
export type Ports = Record<PortName, number>

/** The ports of one process by the names that `stack.json` has for them. */
export function portsOf<Name extends ProcessName>(name: Name, ports: Ports) {
  const named = Object.entries(specOf(name).ports).map(([its, inFile]) => [
    its,
    ports[inFile as PortName], // It is a row of the table.
  ])
  return Object.fromEntries(named) as Record<keyof (typeof services)[Name]['ports'], number>
}

/** The API's port unless the user asks for another, where it is free. */
const usualHttpPort = 8080

/**
 * The range of new ports. SeaweedFS puts a gRPC port 10000 above each of its own. Both stay below the
 * ports that the kernel gives to outgoing connections, because one of those could block a restart.
 */
const newPorts = { from: 10_240, below: 22_760 }

/**
 * Takes the ports of the last start where they are still free, so that addresses survive a restart, and
 * new ones otherwise. Each port is held by name from before the check until the stack ends: two stacks
 * that start at once see each other's choice although neither listens yet.
 *
 * @param httpPort the port to insist on; 0 for any free one
 * @returns also the ports as each instance sees them: a replica has new ones of its own at each start;
 * `takePort` takes one more
 * @throws UserError when the HTTP port that the caller insists on is taken, or closed to browsers
 */
export async function choosePorts(
  data: DataFolder,
  httpPort: number | undefined,
  instances: readonly Instance[] = instancesOf({}),
) {
  const before = await readPorts(data)
  const chosen = new Map<string, number>()
  const held: HeldName[] = []
  const release = () => {
    for (const name of held) name.release()
  }
  const take = async (port: number): Promise<boolean> => {
    // A port beside the gRPC port of another would be refused by SeaweedFS at every start.
    const near = [port - seaweedGrpcOffset, port, port + seaweedGrpcOffset]
    if ([...chosen.values()].some((other) => near.includes(other))) return false
    const name = await holdName(`port:${port}`)
    if (!name) return false
    if (await isPortFree(port)) return held.push(name) > 0
    name.release()
    return false
  }
  const takeNew = async (): Promise<number> => {
    for (;;) {
      const port = newPorts.from + randomInt(newPorts.below - newPorts.from)
      if ((await isPortFree(port + seaweedGrpcOffset)) && (await take(port))) return port
    }
  }
  const takePort = async (name: string): Promise<number> => {
    const port = await takeNew()
    chosen.set(name, port)
    return port
  }
  try {
    if (httpPort && (await isRefusedByClients(httpPort)))
      throw new UserError(
        `Browsers and fetch refuse to call port ${httpPort}; give another: --port PORT`,
        exitCodes.usage,
      )
    // What is wanted comes before what is random, and the API's port before all.
    const wanted = {
      http: usualHttpPort,
      ...before,
      ...(httpPort === undefined ? {} : { http: httpPort }),
    }
    for (const [name, port] of Object.entries(wanted))
      if (port > 0 && (await take(port))) chosen.set(name, port)
    if (httpPort && !chosen.has('http'))
      throw new UserError(`Port ${httpPort} is in use; give another: --port PORT`)
    for (const name of portNames) if (!chosen.has(name)) chosen.set(name, await takeNew())
    const ports = portsSchema.parse(Object.fromEntries(chosen))
    await writePrivately(data.portsFile, `${JSON.stringify(ports)}\n`)
    const portsOfReplica = async ({ name, label }: Instance) => {
      const own: Partial<Ports> = {}
      for (const its of Object.values(specOf(name).ports) as PortName[])
        own[its] = await takePort(`${label} ${its}`)
      return [label, { ...ports, ...own }] as const
    }
    const portsByLabel = new Map<string, Ports>()
    for (const instance of instances)
      portsByLabel.set(
        ...(instance.number === 1
          ? ([instance.label, ports] as const)
          : await portsOfReplica(instance)),
      )
    return { ports, portsByLabel, takePort, release }
  } catch (error) {
    release()
    throw error
  }
}

/**
 * Whether a port is on the list of those that `fetch` never calls, such as 6000
 * (https://fetch.spec.whatwg.org/#port-blocking). The page and the start itself would wait for ever.
 */
async function isRefusedByClients(port: number): Promise<boolean> {
  try {
    await fetch(`http://127.0.0.1:${port}`, {
      method: 'HEAD',
      signal: AbortSignal.timeout(1_000), // Whoever has the port may never answer.
    })
    return false
  } catch (error) {
    return (
      error instanceof Error && error.cause instanceof Error && error.cause.message === 'bad port'
    )
  }
}

/** The API's port that the environment asks for; 0 is any free one. @throws UserError for no port */
export function wantedHttpPort(env: {
  readonly [name: string]: string | undefined
}): number | undefined {
  const text = env['HTTP_PORT']
  if (!text) return undefined
  const port = Number(text)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new UserError(`HTTP_PORT is no port: ${text}`, exitCodes.usage)
}

/** The ports that the stack of a data folder has, or had at its last start. */
export async function portsOfLastStart(data: DataFolder): Promise<Ports | undefined> {
  return portsSchema.safeParse(await readPorts(data)).data
}

/** Without the ports of services that the last start did not know. */
async function readPorts(data: DataFolder): Promise<Partial<Ports>> {
  const text = await readIfThere(data.portsFile)
  const found: unknown = text === undefined ? {} : JSON.parse(text)
  return z.partialRecord(z.enum(portNames), portSchema).safeParse(found).data ?? {}
}
