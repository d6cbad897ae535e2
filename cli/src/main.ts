import { join } from 'node:path'
import { systemClock } from '@avatar/service-kit'
import { launcherGone } from './launcher-watch.ts'
import { runCli } from './program.ts'
import { repositoryRoot } from './stack/installation.ts'

const { env, stdout, stderr, argv } = process
const envFile = join(repositoryRoot, '.env')

void launcherGone(env, systemClock).then(() => process.kill(process.pid, 'SIGTERM'))
process.exitCode = await runCli(argv.slice(2), { env, envFile, stdout, stderr, signals: process })
// A broker connection that never came up, or the launcher watch, would keep the process alive.
process.exit()
