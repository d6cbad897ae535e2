import type { Step } from './deployment.ts'
import { backup } from './steps/backup.ts'
import { commandLine } from './steps/command-line.ts'
import { controlPlane } from './steps/control-plane.ts'
import { planProvision } from './steps/plan-provision.ts'
import { provision } from './steps/provision.ts'
import { record } from './steps/record.ts'
import { smoke } from './steps/smoke.ts'
import { verify } from './steps/verify.ts'
import { workers } from './steps/workers.ts'

export const applySteps: readonly Step[] = [
  verify,
  commandLine,
  backup,
  planProvision,
  provision,
  controlPlane,
  workers,
  smoke,
  record,
]

/** Without provisioning: a later layout serves the release before. */
export const rollbackSteps: readonly Step[] = [
  verify,
  commandLine,
  controlPlane,
  workers,
  smoke,
  record,
]
