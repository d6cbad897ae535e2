import { systemClock } from '@avatar/service-kit'
import { launcherGone } from './launcher-watch.ts'
import { runCli } from './program.ts'

const { env, stdout, stderr, argv } = process

void launcherGone(env, systemClock).then(() => process.kill(process.pid, 'SIGTERM'))
process.exitCode = await runCli(argv.slice(2), { env, stdout, stderr, signals: process })
// A broker connection that never came up, and the look at the launcher, would keep it alive.
process.exit()
