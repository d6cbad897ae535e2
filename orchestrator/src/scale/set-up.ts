import type { Timings } from '@avatar/contracts'
import type { OrchestratorConfig } from '../config.ts'
import type { ScaleSettings } from './pass.ts'
import type { WorkerProvider } from './providers/provider.ts'
import { runPodProvider } from './providers/runpod.ts'
import { kubernetesProvider, noProvider } from './providers/silent.ts'

/** The provider that the configuration names. */
export function providerOf(config: OrchestratorConfig, timings: Timings): WorkerProvider {
  switch (config.SCALE_PROVIDER) {
    case 'none':
      return noProvider
    case 'kubernetes':
      return kubernetesProvider
    case 'runpod': {
      const { RUNPOD_ENDPOINT_ID: endpointId, RUNPOD_API_KEY: apiKey } = config
      // The configuration is refused without them.
      if (!endpointId || !apiKey) throw new Error('RunPod has no endpoint or no key')
      return runPodProvider({
        ...{ endpointId, apiKey },
        apiUrl: config.RUNPOD_API_URL,
        jobApiUrl: config.RUNPOD_JOB_API_URL,
        maxWorkers: config.SCALE_MAX_WORKERS,
        gpuPools: config.RUNPOD_GPU_POOLS?.split(',') ?? [],
        lifetimeMs: config.SCALE_LIFETIME_SECONDS * 1000,
        wakeDeadlineMs: timings.wakeDeadlineMs,
        timeoutMs: timings.providerTimeoutMs,
      })
    }
  }
}

/** What the operator allows the scaled pool. */
export function scaleSettingsOf(config: OrchestratorConfig): ScaleSettings {
  return {
    pool: config.SCALE_POOL,
    min: config.SCALE_MIN_WORKERS,
    max: config.SCALE_MAX_WORKERS,
    targetWaitSeconds: config.SCALE_TARGET_WAIT_SECONDS,
    coldStartSeconds: config.SCALE_COLD_START_SECONDS,
    idleSeconds: config.SCALE_IDLE_SECONDS,
    lifetimeSeconds: config.SCALE_LIFETIME_SECONDS,
  }
}
