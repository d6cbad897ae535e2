import { spawnSync } from 'node:child_process'
import { existsSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { systemClock } from '@avatar/service-kit'
import { createApiClient } from '../api-client.ts'
import type { CommandContext } from '../command-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { dataFolder } from '../stack/data-folder.ts'
import { findFfmpeg, installation } from '../stack/installation.ts'
import { readStackFile } from '../stack/stack-file.ts'
import { defaultDataFolder } from '../system.ts'

/** One thing that can be wrong: what was seen, and the command that repairs it. */
export type Finding = { name: string; isGood: boolean; seen: string; repair?: string }

const leastFreeGibibytes = 2
const healthWithinMs = 3_000

/** `avatar doctor`: checks what can be wrong and prints the command that repairs it. */
export async function doctor(
  options: { data?: string; json?: boolean },
  { env, stdout }: CommandContext,
): Promise<number> {
  const folder = options.data ?? defaultDataFolder
  const findings = [...installed(env), diskSpace(folder), ...(await running(folder))]
  const isGood = findings.every((finding) => finding.isGood)
  if (options.json) stdout.write(`${JSON.stringify({ ok: isGood, findings })}\n`)
  else
    for (const finding of findings) {
      stdout.write(`${finding.isGood ? 'ok  ' : 'BAD '} ${finding.name}: ${finding.seen}\n`)
      if (!finding.isGood && finding.repair) stdout.write(`     → ${finding.repair}\n`)
    }
  return isGood ? exitCodes.ok : exitCodes.failed
}

function installed(env: CommandContext['env']): Finding[] {
  const setup = 'npm run setup'
  const version = process.versions.node
  const ffmpeg = env['FFMPEG_PATH'] || findFfmpeg()
  return [
    {
      name: 'Node',
      isGood: Number(version.split('.')[0]) >= 24,
      seen: version,
      repair: setup,
    },
    answers('NATS server', installation.natsServer, ['--version'], setup),
    answers('S3 server', installation.weed, ['version'], setup),
    answers('Python', installation.python, ['--version'], setup),
    answers('sidecar', installation.python, ['-c', 'import inference_sidecar'], setup),
    ffmpeg
      ? answers('ffmpeg', ffmpeg, ['-hide_banner', '-version'], setup)
      : { name: 'ffmpeg', isGood: false, seen: 'not found', repair: setup },
  ]
}

function answers(name: string, command: string, args: string[], repair: string): Finding {
  if (!existsSync(command)) return { name, isGood: false, seen: `${command} is missing`, repair }
  const ran = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 })
  const [line] = `${ran.stdout}${ran.stderr}`.trim().split('\n').slice(-1)
  if (ran.status !== 0) return { name, isGood: false, seen: line || 'does not run', repair }
  return { name, isGood: true, seen: ran.stdout.trim().split('\n')[0] || 'found' }
}

function diskSpace(folder: string): Finding {
  let existing = dataFolder(folder).path
  while (!existsSync(existing)) existing = dirname(existing)
  const { bavail, bsize } = statfsSync(existing)
  const gibibytes = (bavail * bsize) / 2 ** 30
  return {
    name: 'disk',
    isGood: gibibytes >= leastFreeGibibytes,
    seen: `${gibibytes.toFixed(1)} GB free at ${existing}`,
    repair: 'free some space, or keep the data elsewhere: npx avatar up --data DIR',
  }
}

async function running(folder: string): Promise<Finding[]> {
  const stack = await readStackFile(dataFolder(folder))
  if (!stack)
    return [{ name: 'system', isGood: true, seen: 'not running; npx avatar up starts it' }]
  const dead = Object.entries(stack.processes).filter(([, { pid }]) => !existsSync(`/proc/${pid}`))
  const health = await Promise.race([
    createApiClient(stack.url, undefined, systemClock).health(),
    systemClock.wait(healthWithinMs),
  ])
  const restart = 'npx avatar up'
  return [
    {
      name: 'processes',
      isGood: dead.length === 0,
      seen: dead.length === 0 ? 'all running' : `${dead.map(([name]) => name).join(', ')} dead`,
      repair: restart,
    },
    {
      name: 'API',
      isGood: health?.status === 'ok',
      seen: health ? `${stack.url} says ${health.status}` : `${stack.url} does not answer`,
      repair: restart,
    },
    {
      name: 'worker',
      isGood: (health?.workers.length ?? 0) > 0,
      seen: health?.workers.map((w) => `${w.engine} ${w.state}`).join(', ') || 'none is connected',
      repair: 'look for the sidecar in the output of avatar up',
    },
  ]
}
