import { api } from './api.ts'
import { gpuWorkers } from './gpu-workers.ts'
import { money } from './money.ts'
import { oneJob } from './one-job.ts'
import { overview } from './overview.ts'

/** Every dashboard, by the name of its file in `generated/dashboards/`. */
export const dashboards = {
  overview,
  'gpu-workers': gpuWorkers,
  api,
  money,
  'one-job': oneJob,
} as const
