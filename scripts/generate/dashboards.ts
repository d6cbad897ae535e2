import { dashboards } from '../../deploy/observability/dashboards/index.ts'
import type { GeneratedFiles } from './generated-files.ts'

/** Each dashboard in the classic format, which Grafana 10 to 13 read. */
export function writeDashboards(): GeneratedFiles {
  return Object.fromEntries(
    Object.entries(dashboards).map(([name, dashboard]) => [
      `deploy/observability/generated/dashboards/${name}.json`,
      `${JSON.stringify(dashboard, null, 2)}\n`,
    ]),
  )
}
