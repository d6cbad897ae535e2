import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { spooledFiles } from './spooled-files.ts'

const jobId = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11'
const upload = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a12'

it('finds whatever holds a medium: uploads, checks, attempts in hand and renders', async () => {
  const spools = await mkdtemp(join(tmpdir(), 'avatar-spools-'))
  const those = [
    `ingest/uploads/${upload}`,
    'ingest/checks/checker-a1',
    `sidecar/work/${jobId}-12`,
    `sidecar-2/renders/${jobId}`,
    `sidecar-2/renders/${jobId}.part`,
  ]
  try {
    for (const folder of those) await mkdir(join(spools, folder), { recursive: true })
    await writeFile(join(spools, 'ingest/checks/checker-a1/half.png'), 'x')
    // It runs, and checks nothing.
    await mkdir(join(spools, 'ingest/checks/checker-b2'))
    await writeFile(join(spools, 'sidecar/lock'), '')
    const found = await spooledFiles(spools, Date.now())
    expect(found.map(({ folder }) => folder.slice(spools.length + 1)).sort()).toEqual(
      those.toSorted(),
    )
    const jobs = new Set(found.map((each) => each.jobId))
    expect([...jobs].sort()).toEqual([jobId, upload, undefined])
  } finally {
    await rm(spools, { recursive: true })
  }
})
