import { runCli } from './program.ts'

const { env, stdout, stderr, argv } = process

process.exitCode = await runCli(argv.slice(2), { env, stdout, stderr })
// A broker connection that never came up would keep the process alive.
process.exit()
