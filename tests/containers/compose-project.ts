import { execFile } from 'node:child_process'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')

/** How Compose is called; `npm run test:containers` says so once an engine and the images are there. */
const compose = JSON.parse(process.env['AVATAR_COMPOSE'] ?? 'null') as string[] | null
export const hasCompose = compose !== null

type Output = { stdout: string; stderr: string }

/** What `docker inspect` says of a container, as far as it is looked at. */
export type Inspected = {
  Id: string
  State: { Status: string; ExitCode: number; Pid: number }
  Config: { User: string; Env: string[]; Labels: Record<string, string> }
  HostConfig: {
    ReadonlyRootfs: boolean
    Privileged: boolean
    CapAdd: string[] | null
    CapDrop: string[] | null
    SecurityOpt: string[] | null
    Memory: number
    PidsLimit: number | null
    LogConfig: { Type: string; Config: Record<string, string> }
  }
  Mounts: { Destination: string }[]
  NetworkSettings: { Networks: Record<string, { IPAddress: string; Gateway: string }> }
}

export type ComposeProject = ReturnType<typeof composeProject>

/** A stack of its own beside others: its name, its ports and its volumes are no other's. */
export function composeProject(name: string, env: Readonly<Record<string, string>> = {}) {
  const variables = { ...process.env, ...env }

  /** `docker compose` on this project. @throws with its output when it fails */
  async function call(args: readonly string[], files: readonly string[] = []): Promise<Output> {
    const [program = '', ...words] = compose ?? []
    const options = files.flatMap((file) => ['-f', join(root, file)])
    return run(program, [...words, '-p', name, '--project-directory', root, ...options, ...args], {
      env: variables,
      cwd: root,
      maxBuffer: 64 * 1024 * 1024,
    })
  }
  const docker = async (...args: string[]) =>
    run('docker', args, { env: variables, maxBuffer: 64 * 1024 * 1024 })

  return {
    call,
    docker,
    /** Every container, also those that have ended, by the name of its service. */
    async containers(): Promise<Map<string, Inspected>> {
      const { stdout } = await call(['--profile', '*', 'ps', '--all', '--quiet'])
      const ids = stdout.split('\n').filter(Boolean)
      const inspected = JSON.parse((await docker('inspect', ...ids)).stdout) as Inspected[]
      return new Map(
        inspected.map((one) => [one.Config.Labels['com.docker.compose.service'] ?? '', one]),
      )
    },
    /** Runs a program in the container of a service, and returns what it prints. */
    async exec(service: string, ...command: string[]): Promise<string> {
      return (await call(['exec', '-T', service, ...command])).stdout
    },
    /** Ends everything and forgets its data. */
    down: () => call(['--profile', '*', 'down', '--volumes', '--timeout', '10']),
  }
}

/** Ports on loopback that nobody listens on. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject)
          server.once('listening', () => {
            const address = server.address()
            if (address && typeof address === 'object') resolve(address.port)
          })
        }),
    ),
  )
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))))
  return ports
}
