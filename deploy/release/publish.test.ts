import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { contractsNumber, releaseSchema, schemaNumber } from '@avatar/contracts'
import { afterAll, beforeAll, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '../..')
const script = join(root, '.ci/release')

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-publish-'))
  // Each notes how it was called. `docker` says what it has pushed; `gh` keeps what it is given.
  await writeProgram('npm', 'exit 0')
  await writeProgram('cosign', `echo "cosign $*" >>'${folder}/log'`)
  await writeProgram(
    'docker',
    `echo "docker $*" >>'${folder}/log'
while [ $# -gt 0 ]; do [ "$1" = --metadata-file ] && file=$2; shift; done
printf '{"containerimage.digest":"sha256:%064d"}' "$(wc -l <'${folder}/log')" >"$file"`,
  )
  await writeProgram('gh', `echo "gh $*" >>'${folder}/log'; mv "$4" '${folder}/asset.json'`)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function writeProgram(name: string, lines: string) {
  await writeFile(join(folder, name), `#!/bin/sh\n${lines}\n`)
  await chmod(join(folder, name), 0o755)
}

async function released(tag: string) {
  await writeFile(join(folder, 'log'), '')
  const path = `${folder}:${dirname(process.execPath)}:${process.env['PATH']}`
  const github = { GITHUB_REF_NAME: tag, GITHUB_REPOSITORY_OWNER: 'Us', GITHUB_SHA: 'c0ffee' }
  const env = { ...process.env, PATH: path, ...github }
  const ended = await promisify(execFile)(script, [], { env }).then(
    () => 'well' as const,
    ({ stderr }) => String(stderr),
  )
  return { ended, log: (await readFile(join(folder, 'log'), 'utf8')).trimEnd().split('\n') }
}

it('pushes three images with what is in them, signs each by its content, and publishes their digests', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const { ended, log } = await released(`v${version}`)
  expect(ended).toBe('well')
  const release = releaseSchema.parse(
    JSON.parse(await readFile(join(folder, 'asset.json'), 'utf8')),
  )
  expect(release).toMatchObject({
    release: version,
    schema: schemaNumber,
    contracts: contractsNumber,
  })
  const { services, preview, gpu } = release.images
  expect(services).toMatch(/^ghcr\.io\/us\/avatar-api@sha256:/)
  expect(preview).toMatch(/^ghcr\.io\/us\/avatar-sidecar-preview@/)
  expect(gpu).toMatch(/^ghcr\.io\/us\/avatar-sidecar-gpu@/)
  const builds = log.filter((line) => line.startsWith('docker buildx build'))
  expect(builds).toHaveLength(3)
  for (const build of builds) {
    expect(build).toContain('--push --sbom=true --provenance=mode=max')
    expect(build).toContain(`--build-arg VERSION=${version} --build-arg REVISION=c0ffee`)
  }
  expect(builds.map((build) => / --target (\w+)/.exec(build)?.[1])).toEqual([
    undefined,
    'preview',
    'gpu',
  ])
  expect(log.filter((line) => line.startsWith('cosign'))).toEqual(
    [services, preview, gpu].map((image) => `cosign sign --yes ${image}`),
  )
  expect(log.at(-1)).toBe(
    `gh release create v${version} release.json --verify-tag --generate-notes`,
  )
}, 60_000)

it('builds nothing for a tag that is not the version', async () => {
  const { ended, log } = await released('v99.0.0')
  expect(ended).toContain('package.json says')
  expect(log).toEqual([''])
}, 60_000)
