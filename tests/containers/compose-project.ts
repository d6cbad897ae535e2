import { execFile } from 'node:child_process'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../harness/index.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')

/** How Compose is called; `npm run test:containers` says so once an engine and the images are there. */
const compose = JSON.parse(process.env['AVATAR_COMPOSE'] || 'null') as string[] | null
export const hasCompose = compose !== null

/** Whoever calls the tests removes what is left of the project with this name. */
export const projectName = process.env['AVATAR_COMPOSE_PROJECT'] || `avatar-test-${process.pid}`

const healthyWithinMs = 120_000

type Output = { stdout: string; stderr: string }

/** What `docker inspect` says of a container, as far as it is looked at. */
export type Inspected = {
  Id: string
  /** The id of its image. */
  Image: string
  State: {
    Status: string
    ExitCode: number
    StartedAt: string
    Health?: { Status: string }
  }
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
  let variables: NodeJS.ProcessEnv = { ...process.env, ...env }
  let usualFiles: readonly string[] = []

  /** `docker compose` on this project. @throws with its output when it fails */
  async function call(args: readonly string[], files = usualFiles): Promise<Output> {
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

  /** Every container, also those that have ended, by the name of its service. */
  async function containers(): Promise<Map<string, Inspected>> {
    const { stdout } = await call(['--profile', '*', 'ps', '--all', '--quiet'])
    const ids = stdout.split('\n').filter(Boolean)
    const inspected = JSON.parse((await docker('inspect', ...ids)).stdout) as Inspected[]
    return new Map(
      inspected.map((one) => [one.Config.Labels['com.docker.compose.service'] ?? '', one]),
    )
  }

  async function inspect(service: string): Promise<Inspected> {
    const found = (await containers()).get(service)
    if (!found) throw new Error(`there is no container of ${service}`)
    return found
  }

  return {
    name,
    call,
    docker,
    containers,
    inspect,

    /** From now on these files and variables hold. */
    change(files: readonly string[], added: Readonly<Record<string, string>>) {
      usualFiles = files
      variables = { ...variables, ...added }
    },

    /** Builds an image whose Dockerfile needs no other file. */
    async build(tag: string, dockerfile: string) {
      const building = run('docker', ['build', '--quiet', '--tag', tag, '-'], { env: variables })
      building.child.stdin?.end(dockerfile)
      await building
    },

    /** Runs a program in the container of a service, and returns what it prints. */
    async exec(service: string, ...command: string[]): Promise<string> {
      return (await call(['exec', '-T', service, ...command])).stdout
    },

    /** Starts what is not there as it should be, and waits until all of it is healthy. */
    async up(...profiles: string[]) {
      const chosen = profiles.flatMap((profile) => ['--profile', profile])
      await call([...chosen, 'up', '--detach', '--wait', '--no-build']).catch(async (error) => {
        const logs = ['--profile', '*', 'logs', '--no-color', '--tail', '20']
        throw new Error((await call(logs)).stdout, { cause: error })
      })
    },

    /**
     * `avatar …` as the operator. The mounts are `host's folder:container's folder`. Alone it starts nothing of
     * what it depends on.
     */
    async avatar(
      args: readonly string[],
      { mounts = [], isAlone = false }: { mounts?: readonly string[]; isAlone?: boolean } = {},
    ) {
      const volumes = mounts.flatMap((mount) => ['--volume', mount])
      const others = isAlone ? ['--no-deps'] : []
      return (await call(['run', '--rm', '-T', ...others, ...volumes, 'cli', ...args])).stdout
    },

    /** Stops a container as `docker stop` does. Its exit code is 137 when it took longer than its grace. */
    async stop(service: string): Promise<{ exitCode: number; tookMs: number }> {
      const { Id } = await inspect(service)
      const startedAt = performance.now()
      await docker('stop', Id)
      const tookMs = Math.round(performance.now() - startedAt)
      return { exitCode: (await inspect(service)).State.ExitCode, tookMs }
    },

    /**
     * Starts a stopped container.
     *
     * @returns a promise of how long it took until it was healthy
     */
    async start(service: string): Promise<() => Promise<number>> {
      const { Id, State } = await inspect(service)
      const startedAt = performance.now()
      await docker('start', Id)
      return async () => {
        await this.untilHealthyAgain(Id, State.StartedAt)
        return Math.round(performance.now() - startedAt)
      }
    },

    /**
     * Kills the process of a service by SIGKILL, and not the container: the engine takes that for somebody's
     * wish, and does not start it again. The process is the child of the container's init.
     *
     * @returns a promise of how long it took until its successor was healthy
     */
    async kill(service: string): Promise<() => Promise<number>> {
      const { Id, State } = await inspect(service)
      const killing = 'kill -9 $(cat /proc/1/task/1/children)'
      const startedAt = performance.now()
      // It may end together with the container in which it runs.
      await docker('exec', Id, 'sh', '-c', killing).catch(() => undefined)
      return async () => {
        await this.untilHealthyAgain(Id, State.StartedAt)
        return Math.round(performance.now() - startedAt)
      }
    },

    /** Waits until a container that was started at another time than this one is healthy. */
    async untilHealthyAgain(id: string, startedBefore: string) {
      const look = async () => {
        const [found] = JSON.parse((await docker('inspect', id)).stdout) as Inspected[]
        return found?.State.StartedAt !== startedBefore && found?.State.Health?.Status === 'healthy'
      }
      const what = `a healthy container ${id}`
      await until(look, { timeoutMs: healthyWithinMs, everyMs: 300, what })
    },

    /** Ends everything and forgets its data. */
    down: () => call(['--profile', '*', 'down', '--volumes', '--timeout', '10']),
  }
}

/** Ports that nobody listens on at this address. */
export async function freePorts(count: number, address = '127.0.0.1'): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, address))
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
