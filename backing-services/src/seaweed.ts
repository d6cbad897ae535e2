import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { intakePrefix } from '@avatar/contracts'

/** The servers inside one SeaweedFS process. All but the last have a gRPC port beside the HTTP port. */
export const seaweedParts = ['s3', 'master', 'filer', 'volume', 'admin', 'webdav'] as const
export type SeaweedPart = (typeof seaweedParts)[number]

type SeaweedOptions = {
  directory: string
  /** The path of the file with what `renderS3Identities` returns. */
  identitiesFile: string
  ports: Readonly<Record<SeaweedPart, number>>
  /** By default each is `seaweedGrpcOffset` above the HTTP port. */
  grpcPorts?: Readonly<Partial<Record<SeaweedPart, number>>>
}

/** By default SeaweedFS puts each gRPC port this far above the HTTP port. */
export const seaweedGrpcOffset = 10_000

/** SeaweedFS creates its sockets here, whatever `TMPDIR` says. */
const socketFolder = '/tmp'

/**
 * The arguments of `weed` for one S3 server on loopback. The filer and the master ask for no password,
 * so none of it may listen anywhere else.
 */
export function seaweedArguments(options: SeaweedOptions): string[] {
  const { directory, identitiesFile, ports, grpcPorts = {} } = options
  return [
    '-logtostderr', // Without it, log files stay behind in the machine's temporary folder.
    'mini',
    `-dir=${directory}`,
    '-ip=127.0.0.1',
    '-ip.bind=127.0.0.1',
    ...seaweedParts.map((part) => `-${part}.port=${ports[part]}`),
    ...Object.entries(grpcPorts).map(([part, port]) => `-${part}.port.grpc=${port}`),
    `-s3.config=${identitiesFile}`,
    '-s3.port.iceberg=0',
    '-s3.port.lance=0',
    '-volume.preStopSeconds=0',
    '-webdav=false',
    '-admin.ui=false',
    '-master.telemetry=false',
  ]
}

export type S3Identity = { readonly accessKeyId: string; readonly secretAccessKey: string }

/** SeaweedFS' identities: ours may do everything, a publisher only what is in its own folder. */
export function renderS3Identities(options: {
  bucket: string
  ours: S3Identity
  publishers: Readonly<Record<string, S3Identity>>
}): string {
  const { bucket, ours, publishers } = options
  const identities = [
    identity('avatar', ours, ['Admin', 'Read', 'Write', 'List']),
    ...Object.entries(publishers).map(([name, its]) =>
      identity(
        name,
        its,
        ['Read', 'Write'].map((action) => `${action}:${bucket}/${intakePrefix(name)}*`),
      ),
    ),
  ]
  return `${JSON.stringify({ identities }, null, 2)}\n`
}

function identity(
  name: string,
  { accessKeyId, secretAccessKey }: S3Identity,
  actions: readonly string[],
) {
  return { name, credentials: [{ accessKey: accessKeyId, secretKey: secretAccessKey }], actions }
}

/**
 * Removes the socket files that a SeaweedFS server leaves behind; call it once the server has ended.
 * Each carries one of the server's ports in its name. A killed server leaves all of them, a stopped
 * one some.
 */
export async function removeSeaweedSockets(ports: readonly number[], folder = socketFolder) {
  const its = new Set(ports.flatMap((port) => [port, port + seaweedGrpcOffset]))
  for (const name of await readdir(folder).catch(() => [])) {
    const port = /^seaweedfs-[a-z0-9-]+-(\d+)\.sock$/.exec(name)?.[1]
    if (port && its.has(Number(port))) await rm(join(folder, name), { force: true })
  }
}
