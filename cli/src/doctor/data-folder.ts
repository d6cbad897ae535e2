import { existsSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { isPortFree } from '@avatar/backing-services'
import type { DataFolder } from '../stack/data-folder.ts'
import { portsOfLastStart } from '../stack/ports.ts'
import { type Finding, finding } from './finding.ts'

const leastFreeGibibytes = 2

/** The data folder of a system on this machine, and its disk. */
export function dataFolderFindings(data: DataFolder): Finding[] {
  return [diskSpace(data), ...privacy(data)]
}

function diskSpace(data: DataFolder): Finding {
  let existing = data.path
  while (!existsSync(existing)) existing = dirname(existing)
  const { bavail, bsize } = statfsSync(existing)
  const gibibytes = (bavail * bsize) / 2 ** 30
  return finding(
    'disk',
    gibibytes >= leastFreeGibibytes,
    `${gibibytes.toFixed(1)} GiB free at ${existing}`,
    'free some space, or keep the data elsewhere: npx avatar up --data DIR',
  )
}

/** Only the owner may read credentials and private media. */
function privacy(data: DataFolder): Finding[] {
  if (!existsSync(data.path)) return []
  const secrets = [data.credentialsFile, data.stackFile, data.natsConf, data.s3Identities]
  const open = [data.path, ...secrets, data.cliKeyFile].filter(
    (path) => existsSync(path) && (statSync(path).mode & 0o077) !== 0,
  )
  return [
    finding(
      'permissions',
      open.length === 0,
      open.length === 0
        ? `${data.path} is its owner's alone`
        : `others may read ${open.join(', ')}`,
      `chmod go-rwx ${open.join(' ')}`,
    ),
  ]
}

/** Whether the API's port is free for a system that is not running. */
export async function portFinding(data: DataFolder): Promise<Finding> {
  const port = (await portsOfLastStart(data))?.http ?? 8080
  return finding(
    'port',
    true,
    (await isPortFree(port)) ? `${port} is free` : `${port} is in use; avatar up will take another`,
    '',
  )
}
