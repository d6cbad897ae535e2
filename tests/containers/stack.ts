import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, createClient } from '../harness/index.ts'
import { type ComposeProject, composeProject, freePorts, projectName } from './compose-project.ts'

/** By this label Compose finds what belongs to a project, and takes it down. */
const projectLabel = 'com.docker.compose.project'
const root = join(import.meta.dirname, '../..')

/** Those that end once their work is done. */
export const oneShots = ['init', 'provision']
export const running = ['nats', 's3', 'ingest', 'orchestrator', 'janitor', 'sidecar']

/** The system that the checks look at, one after the other. */
export type Stack = {
  project: ComposeProject
  ports: { api: number; s3: number }
  /** A network of nobody in the stack. Caddy is published at its gateway. */
  outside: { network: string; address: string; port: number }
  /** The REST API as the host reaches it. */
  url: string
  /** Of the first key, which the first check makes. */
  key: string
  client: Client
  /** A video by the link that its owner gets. */
  download(jobId: string): Promise<Buffer>
  /** Milliseconds, or whatever else is worth reading. */
  measured: Record<string, unknown>
  timed<T>(what: string, act: () => Promise<T>): Promise<T>
}

/** Nothing runs yet: `up` starts it. `endStack` removes what this makes. */
export async function prepareStack(): Promise<Stack> {
  const [api = 0, s3 = 0] = await freePorts(2)
  const url = `http://127.0.0.1:${api}`
  const measured: Record<string, unknown> = {}
  const outside = await makeOutside()
  const stack: Stack = {
    project: composeProject(projectName, {
      API_PORT: String(api),
      S3_PORT: String(s3),
      EDGE_ADDRESS: outside.address,
      EDGE_PORT: String(outside.port),
    }),
    ports: { api, s3 },
    outside,
    url,
    key: '',
    client: createClient(url, ''),
    download: (jobId) => stack.client.download(jobId),
    measured,
    async timed(what, act) {
      const startedAt = performance.now()
      const result = await act()
      measured[what] = Math.round(performance.now() - startedAt)
      return result
    },
  }
  return stack
}

async function makeOutside() {
  const { docker } = composeProject(projectName)
  const network = `${projectName}-outside`
  await docker('network', 'create', '--label', `${projectLabel}=${projectName}`, network)
  const format = '{{(index .IPAM.Config 0).Gateway}}'
  const { stdout } = await docker('network', 'inspect', '--format', format, network)
  const address = stdout.trim()
  const [port = 0] = await freePorts(1, address)
  return { network, address, port }
}

export async function endStack({ project, outside }: Stack) {
  await project.down()
  await project.docker('network', 'rm', outside.network)
}

/** What the README's first command renders. */
export async function example() {
  return {
    image: await readFile(join(root, 'examples/portrait.jpg')),
    audio: await readFile(join(root, 'examples/voice.wav')),
  }
}
