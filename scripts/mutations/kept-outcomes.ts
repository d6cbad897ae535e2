import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** What the tests did about one fault, and how long that took. */
export type KeptOutcome = { outcome: 'noticed' | 'NOT NOTICED'; seconds: number }

/**
 * What came of the faults of one commit, by their description: a whole run takes longer than most people
 * wait, so it may be done in pieces. Nothing is kept of a working tree that no commit names.
 *
 * @param commit undefined for such a tree
 */
export async function keptOutcomes(root: string, commit: string | undefined) {
  const file = join(root, 'test-results/mutations', `${commit}.json`)
  const kept = new Map<string, KeptOutcome>(commit ? Object.entries(await read(file)) : [])
  return {
    find: (what: string): KeptOutcome | undefined => kept.get(what),
    async keep(what: string, outcome: KeptOutcome): Promise<void> {
      kept.set(what, outcome)
      if (!commit) return
      await mkdir(dirname(file), { recursive: true })
      // Read again, because another piece may run beside this one. Renamed over the old one: a run that is
      // stopped in the middle loses one fault, and not all.
      const all = { ...(await read(file)), [what]: outcome }
      await writeFile(`${file}.tmp`, `${JSON.stringify(all, null, 2)}\n`)
      await rename(`${file}.tmp`, file)
    },
  }
}

async function read(file: string): Promise<Record<string, KeptOutcome>> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}'
    throw error
  })
  return JSON.parse(text)
}

/** One line for somebody who reads nothing else: what a whole run comes to, in pieces or not. */
export function figureOf(all: number, known: readonly KeptOutcome[]): string {
  const noticed = known.filter(({ outcome }) => outcome === 'noticed').length
  const minutes = known.reduce((sum, { seconds }) => sum + seconds, 0) / 60
  const planted = known.length === all ? `${all}` : `${known.length} of ${all}`
  return `mutations: ${planted} faults planted, ${noticed} noticed, ${minutes.toFixed(1)} min`
}
