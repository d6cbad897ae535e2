/** Fails where a merge was committed with its conflict still in a file: no other check reads every text. */
import { spawnSync } from 'node:child_process'

const { status, stdout, stderr } = spawnSync(
  'git',
  ['grep', '-nIE', '^(<{7}|>{7}) ', '--', ':!InfiniteTalk'],
  { encoding: 'utf8' },
)
// git grep exits with 1 where it finds nothing.
if (status !== 1) {
  process.stderr.write(status === 0 ? `A conflict is not resolved:\n${stdout}` : stderr)
  process.exitCode = 1
}
