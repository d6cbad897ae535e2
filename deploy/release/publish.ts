/**
 * Builds the images of a release, pushes and signs them, and writes release.json:
 *
 *   node deploy/release/publish.ts --registry ghcr.io/OWNER --tag v1.2.0 --revision COMMIT --out release.json
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { contractsNumber, type Release, releaseSchema, schemaNumber } from '@avatar/contracts'
import { z } from 'zod'
import { must, type Run, runProgram } from './run-program.ts'

const root = resolve(import.meta.dirname, '../..')

/** What is built, under which name. */
const images = {
  services: { name: 'avatar-api', file: 'services.Dockerfile', target: [] },
  preview: {
    name: 'avatar-sidecar-preview',
    file: 'sidecar.Dockerfile',
    target: ['--target', 'preview'],
  },
  gpu: { name: 'avatar-sidecar-gpu', file: 'sidecar.Dockerfile', target: ['--target', 'gpu'] },
} as const

const metadataSchema = z.object({ 'containerimage.digest': z.string() })
const packageSchema = z.object({ version: z.string() })

type Order = { registry: string; tag: string; revision: string }

/** @throws when the tag is not that of the version in package.json, or a program fails */
export async function publish(run: Run, { registry, tag, revision }: Order): Promise<Release> {
  const { version } = packageSchema.parse(
    JSON.parse(await readFile(join(root, 'package.json'), 'utf8')),
  )
  if (tag !== `v${version}`) throw new Error(`package.json says ${version}, and the tag ${tag}`)
  const folder = await mkdtemp(join(tmpdir(), 'avatar-publish-'))
  try {
    const build = async ({ name, file, target }: (typeof images)[keyof typeof images]) => {
      const metadata = join(folder, `${name}.json`)
      await must(run, [
        ...(['docker', 'buildx', 'build', '--file', join(root, 'deploy/docker', file)] as const),
        ...target,
        ...['--build-arg', `VERSION=${version}`, '--build-arg', `REVISION=${revision}`],
        ...['--tag', `${registry}/${name}:${version}`, '--push'],
        // What is in it, and how it was made, lie beside the image.
        ...['--sbom=true', '--provenance=mode=max', '--metadata-file', metadata, root],
      ])
      const told = metadataSchema.parse(JSON.parse(await readFile(metadata, 'utf8')))
      const image = `${registry}/${name}@${told['containerimage.digest']}`
      await must(run, ['cosign', 'sign', '--yes', image])
      return image
    }
    return releaseSchema.parse({
      ...{ release: version, schema: schemaNumber, contracts: contractsNumber },
      images: {
        services: await build(images.services),
        preview: await build(images.preview),
        gpu: await build(images.gpu),
      },
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

if (import.meta.main) {
  const text = { type: 'string', default: '' } as const
  const { values } = parseArgs({
    options: { registry: text, tag: text, revision: text, out: text },
  })
  const release = await publish(runProgram, values)
  await writeFile(values.out, `${JSON.stringify(release, null, 2)}\n`)
}
