import { once } from 'node:events'
import { createServer } from 'node:net'
import { z } from 'zod'
import { type DataFolder, readIfThere, writePrivately } from './data-folder.ts'

const portSchema = z.int().min(1).max(65_535)

const portNames = [
  'http',
  'ingestMetrics',
  'orchestratorMetrics',
  'janitorMetrics',
  'sidecarMetrics',
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
const grpcOffset = 10_000

/** The wanted port is taken by somebody else. */
export class PortTaken extends Error {
  override readonly name = 'PortTaken'
}

/**
 * The ports of the last start where they are still free, so that addresses survive a restart, else
 * new ones.
 *
 * @throws PortTaken when the caller insists on an HTTP port that is taken
 */
export async function choosePorts(data: DataFolder, httpPort: number | undefined): Promise<Ports> {
  const before = await portsOfLastStart(data)
  const chosen = new Map<string, number>()
  const isUsable = async (port: number | undefined): Promise<boolean> =>
    port !== undefined && ![...chosen.values()].includes(port) && (await isFree(port))
  for (const name of portNames) {
    if (name === 'http' && httpPort !== undefined) {
      if (!(await isUsable(httpPort))) throw new PortTaken(`Port ${httpPort} is in use.`)
      chosen.set(name, httpPort)
      continue
    }
    const wanted = before?.[name] ?? (name === 'http' ? usualHttpPort : undefined)
    if (wanted !== undefined && (await isUsable(wanted))) chosen.set(name, wanted)
    else chosen.set(name, await freePort(isUsable))
  }
  const ports = portsSchema.parse(Object.fromEntries(chosen))
  await writePrivately(data.portsFile, `${JSON.stringify(ports)}\n`)
  return ports
}

/** A port of nobody's, for those who do not care which. */
export function anyFreePort(): Promise<number> {
  return freePort(isFree)
}

/** The ports that the stack of a data folder had last, or has. */
export async function portsOfLastStart(data: DataFolder): Promise<Ports | undefined> {
  const text = await readIfThere(data.portsFile)
  return text === undefined ? undefined : portsSchema.safeParse(JSON.parse(text)).data
}

/** SeaweedFS puts a gRPC port 10000 above each of its own, so both must be free. */
async function freePort(isUsable: (port: number) => Promise<boolean>): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if ((await isUsable(port)) && (await isUsable(port + grpcOffset))) return port
  }
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
