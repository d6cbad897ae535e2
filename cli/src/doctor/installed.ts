import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { retentionConfig } from '@avatar/job-kit'
import { ConfigError, loadConfig, runtimeConfig } from '@avatar/service-kit'
import { z } from 'zod'
import { UserError } from '../exit-codes.ts'
import { findFfmpeg, installation } from '../stack/installation.ts'
import { wantedHttpPort } from '../stack/ports.ts'
import type { Environment } from '../stack/settings.ts'
import { type Finding, finding } from './finding.ts'

const setup = 'npm run setup'
const oldestNode = 24
const earliestSaneYear = 2025

/** What this machine needs whether or not a system runs. */
export function installed(env: Environment): Finding[] {
  const { natsServer, weed, python } = installation
  const version = process.versions.node
  const ffmpeg = env['FFMPEG_PATH'] || findFfmpeg()
  return [
    finding('Node', Number(version.split('.')[0]) >= oldestNode, version, setup),
    answers('NATS server', natsServer, ['--version'], setup),
    answers('S3 server', weed, ['version'], setup),
    answers('Python', python, ['--version'], setup),
    answers('sidecar', python, ['-c', 'import inference_sidecar.worker.worker'], setup),
    ffmpeg
      ? answers('ffmpeg', ffmpeg, ['-hide_banner', '-version'], ffmpegRepair(env))
      : finding('ffmpeg', false, 'not found', setup),
    environment(env),
    clockIsSane(),
  ]
}

/** Runs a program: good if it exits with 0; the first line of its output is what was seen. */
function answers(name: string, command: string, args: string[], repair: string): Finding {
  if (!existsSync(command)) return finding(name, false, `${command} is missing`, repair)
  const ran = spawnSync(command, args, { encoding: 'utf8', timeout: 30_000 })
  if (ran.status === 0)
    return finding(name, true, ran.stdout.trim().split('\n')[0] || 'found', repair)
  const last = `${ran.stdout}${ran.stderr}`.trim().split('\n').at(-1)
  return finding(name, false, last || 'does not run', repair)
}

function ffmpegRepair(env: Environment): string {
  return env['FFMPEG_PATH'] ? `unset FFMPEG_PATH # or: ${setup}` : setup
}

/** `avatar up` passes the environment on, and a wrong value keeps a service from starting. */
function environment(env: Environment): Finding {
  const { METRICS_PORT: _chosenByUs, ...shared } = runtimeConfig
  const schema = z.object({ ...shared, ...retentionConfig })
  const repair = 'correct or unset the variable; docs/configuration.md lists them'
  try {
    wantedHttpPort(env)
    loadConfig(schema, env)
    return finding('environment', true, 'nothing in it is wrong', repair)
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof UserError)) throw error
    return finding('environment', false, error.message.replaceAll('\n', ' '), repair)
  }
}

/** S3 signatures and the deletion of media depend on the clock. */
function clockIsSane(): Finding {
  const now = new Date()
  return finding(
    'clock',
    now.getUTCFullYear() >= earliestSaneYear,
    now.toISOString(),
    'sudo timedatectl set-ntp true',
  )
}
