/** The table of alerts. Rules, their tests and `docs/alerts.md` are made of it; see `alerts/alert.ts`. */
import type { Alert } from './alerts/alert.ts'
import { jobAlerts } from './alerts/jobs.ts'
import { machineAlerts } from './alerts/machines.ts'
import { moneyAlerts } from './alerts/money.ts'
import { objectiveAlerts } from './alerts/objectives.ts'
import { serviceAlerts } from './alerts/services.ts'
import { wakeupAlerts } from './alerts/wakeups.ts'

/** Always fires: when it stops to arrive, nobody would hear of anything else. */
const watchdog: Alert = {
  name: 'Watchdog',
  severity: 'none',
  expr: 'vector(1)',
  summary: 'The chain of alerts works. A dead man’s switch misses this one when it does not.',
  fires: [{ why: 'always', at: '1m', series: {} }],
  quiet: [],
}

/** By group. Each has rules and tests in files of its own, so that a test evaluates its own group alone. */
export const alertGroups: Readonly<Record<string, readonly Alert[]>> = {
  services: [...serviceAlerts, watchdog],
  jobs: jobAlerts,
  machines: machineAlerts,
  money: moneyAlerts,
  wakeups: wakeupAlerts,
  objectives: objectiveAlerts,
}

export const alerts: readonly Alert[] = Object.values(alertGroups).flat()
