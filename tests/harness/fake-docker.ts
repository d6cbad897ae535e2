import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

const avatar = resolve(import.meta.dirname, '../../cli/src/main.ts')

/**
 * A program `docker` in a folder for PATH. `compose … run … cli ARGS` runs the real command line, in the
 * environment that the test gives; `/backups` is a folder of the test. Everything else is only noted.
 */
export async function writeFakeDocker(folder: string, backups: string) {
  const log = join(folder, 'docker.log')
  const path = join(folder, 'docker')
  await writeFile(log, '')
  await writeFile(
    path,
    `#!/usr/bin/env bash
set -euo pipefail
echo "$*" >>'${log}'
case "$*" in
  *" cli "*)
    while [ "$1" != cli ]; do shift; done
    shift
    exec '${process.execPath}' '${avatar}' "\${@/#\\/backups/${backups}}" ;;
  *"up -d"*) if [ -n "\${FAKE_DOCKER_FAILS:-}" ] && [ "\${*: -1}" = "$FAKE_DOCKER_FAILS" ]; then echo 'unhealthy' >&2; exit 1; fi ;;
esac
`,
  )
  await chmod(path, 0o755)
  return { calls: async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean) }
}
