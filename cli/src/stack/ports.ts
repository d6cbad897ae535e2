import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { seaweedGrpcOffset } from '@avatar/backing-services'
import { z } from 'zod'
import { exitCodes, UserError } from '../exit-codes.ts'
import { type DataFolder, readIfThere, writePrivately } from './data-folder.ts'
import { type HeldName, holdName } from './held-name.ts'

const portSchema = z.int().min(1).max(65_535)

const portNames = [
  'http',
  'ingestMetrics',
  'orchestratorMetrics',
  'janitorMetrics',
  'nats',
  'natsMonitor',
  's3',
  's3Master',
  's3Filer',
  's3Volume',
  's3Admin',
  's3Webdav',
] as const
const portsSchema = z.record(z.enum(portNames), portSchema)

/** Every port of a stack; all on loopback. */
export type Ports = z.infer<typeof portsSchema>

/** What a user types without choosing: the API's port where it is free. */
const usualHttpPort = 8080

/**
 * New ports are taken from here. SeaweedFS puts a gRPC port 10000 above each of its own: both stay
 * under the ports that the kernel gives to outgoing connections, which could be in the way of a
 * restart.
 */
const newPorts = { from: 10_240, below: 22_760 }

/** The wanted port is taken by somebody else. */
export class PortTaken extends Error {
  override readonly name = 'PortTaken'
}

/** Ports that no other stack of this machine chooses until they are given back. */
export type HeldPorts = { ports: Ports; release(): void }

/**
 * The ports of the last start where they are still free, so that addresses survive a restart, else
 * new ones. They are held by name from before the look until the stack ends: of two stacks that start
 * at once, each sees what the other has chosen, though neither listens yet.
 *
 * @param httpPort the port to insist on; 0 for any free one
 * @throws PortTaken when the HTTP port that the caller insists on is taken
 */
export async function choosePorts(
  data: DataFolder,
  httpPort: number | undefined,
): Promise<HeldPorts> {
  const before = await portsOfLastStart(data)
  const chosen = new Map<string, number>()
  const held: HeldName[] = []
  const release = () => {
    for (const name of held) name.release()
  }
  const take = async (port: number): Promise<boolean> => {
    if ([...chosen.values()].includes(port)) return false
    const name = await holdName(`port:${port}`)
    if (!name) return false
    if (await isFree(port)) return held.push(name) > 0
    name.release()
    return false
  }
  const takeNew = async (): Promise<number> => {
    for (;;) {
      const port = newPorts.from + randomInt(newPorts.below - newPorts.from)
      if ((await isFree(port + seaweedGrpcOffset)) && (await take(port))) return port
    }
  }
  try {
    for (const name of portNames) {
      const wanted = name === 'http' ? (httpPort ?? before?.http ?? usualHttpPort) : before?.[name]
      const isTaken = wanted ? await take(wanted) : false
      if (name === 'http' && httpPort && !isTaken)
        throw new PortTaken(`Port ${httpPort} is in use; give another: --port PORT`)
      chosen.set(name, wanted && isTaken ? wanted : await takeNew())
    }
    const ports = portsSchema.parse(Object.fromEntries(chosen))
    await writePrivately(data.portsFile, `${JSON.stringify(ports)}\n`)
    return { ports, release }
  } catch (error) {
    release()
    throw error
  }
}

/** The API's port that the environment asks for; 0 is any. @throws UserError for what is none */
export function wantedHttpPort(env: {
  readonly [name: string]: string | undefined
}): number | undefined {
  const text = env['HTTP_PORT']
  if (!text) return undefined
  const port = Number(text)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new UserError(`HTTP_PORT is no port: ${text}`, exitCodes.usage)
}

/** The ports that the stack of a data folder had last, or has. */
export async function portsOfLastStart(data: DataFolder): Promise<Ports | undefined> {
  const text = await readIfThere(data.portsFile)
  return text === undefined ? undefined : portsSchema.safeParse(JSON.parse(text)).data
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}
