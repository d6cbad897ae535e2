import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, createClient, until } from '../harness/index.ts'
import { type ComposeProject, composeProject, freePorts, projectName } from './compose-project.ts'
import { type TlsClient, tlsClient } from './tls-client.ts'

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
  /** The first key. */
  key: string
  client: Client
  /** HTTPS to the sites of `putBehindTls`. */
  tls(): Promise<TlsClient>
  /** A video by the link that its owner gets. */
  download(jobId: string): Promise<Buffer>
  /** How long each service took to become healthy when it was started in order, under work. */
  startMs: Map<string, number>
  /** Milliseconds, or whatever else is worth reading. */
  measured: Record<string, unknown>
  timed<T>(what: string, act: () => Promise<T>): Promise<T>
}

/** Nothing runs yet: `startStack` starts it. `endStack` removes what this makes. */
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
    tls: async () => tlsClient(outside.address, await authorityOf(stack)),
    download: (jobId) => stack.client.download(jobId),
    startMs: new Map(),
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

/** From empty volumes to the first key. */
export async function startStack(stack: Stack) {
  await stack.timed('up from empty volumes', () => stack.project.up('preview'))
  const printed = await stack.timed('first key', () =>
    stack.project.avatar(['keys', 'create', '--name', 'me']),
  )
  stack.key = printed.split('\n')[0] ?? ''
  stack.client = createClient(stack.url, stack.key)
}

/** The compose files from `putBehindTls` on. */
export const filesBehindTls = ['docker-compose.yml', 'tests/containers/null-engine.yml']

/** Adds the edge, and has renders take as long as their prompts say, without a face. */
export async function putBehindTls(stack: Stack) {
  const media = siteOf(stack, 'media')
  stack.project.change(filesBehindTls, {
    DOMAIN: 'localhost',
    S3_PUBLIC_ENDPOINT: media,
  })
  await stack.timed('up again, with TLS', () => stack.project.up('preview', 'edge'))
  stack.download = async (jobId) => {
    const { url } = await stack.client.result(jobId)
    if (!url.startsWith(media)) throw new Error(`the link leads to ${new URL(url).origin}`)
    const { status, body } = await (await stack.tls()).bytes(url)
    if (status !== 200) throw new Error(`the download answered ${status}`)
    return body
  }
}

/** The address of a site of the edge, as certificates name it. */
export const siteOf = ({ outside }: Stack, name: string) =>
  `https://${name}.localhost:${outside.port}`

/** The certificate of the authority that Caddy makes for localhost. */
export async function authorityOf({ project }: Stack): Promise<string> {
  const file = '/state/data/caddy/pki/authorities/local/root.crt'
  const look = () => project.exec('caddy', 'cat', file).catch(() => undefined)
  return until(look, { everyMs: 500, what: "Caddy's own authority" })
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
