import { join, resolve } from 'node:path'
import type { Environment } from './config.ts'
import { cosignVerifier, unsigned } from './cosign.ts'
import type { Platform, ProviderApi } from './deployment.ts'
import { composePlatform } from './platforms/compose.ts'
import { kubernetesPlatform } from './platforms/kubernetes.ts'
import type { Tools } from './release.ts'
import type { Run } from './run-program.ts'
import { runpodEndpoint } from './runpod.ts'
import { smokeJob } from './smoke-job.ts'

const root = resolve(import.meta.dirname, '../..')

export type ToolsOptions = {
  run: Run
  say: (line: string) => void
  stamp: string
  runpodApiKey: string | undefined
  runpodApi: string | undefined
}

/** What an environment is worked on with. @throws when it names a provider whose key is not given */
export function toolsOf(environment: Environment, options: ToolsOptions): Tools {
  const { run, say, stamp } = options
  return {
    platform: platformOf(environment, run),
    provider: providerOf(environment, options),
    verifier: environment.signedBy === null ? unsigned : cosignVerifier(run, environment.signedBy),
    smoke: smokeJob({ url: environment.url, examples: join(root, 'examples') }),
    ...{ say, stamp },
  }
}

function platformOf({ platform, workers }: Environment, run: Run): Platform {
  if (platform.kind === 'compose') {
    const { settings, backups } = platform
    const file = join(root, 'docker-compose.yml')
    return composePlatform({ run, file, settings, backups, workers })
  }
  const { context, overlay } = platform
  return kubernetesPlatform({
    ...{ run, workers },
    kubectl: context === undefined ? ['kubectl'] : ['kubectl', '--context', context],
    overlay: join(root, 'deploy/k8s/overlays', overlay),
  })
}

function providerOf(
  { runpodEndpoint: endpointId }: Environment,
  { runpodApiKey: apiKey, runpodApi: api }: ToolsOptions,
): ProviderApi | undefined {
  if (endpointId === undefined) return undefined
  if (apiKey === undefined)
    throw new Error('this environment has a runpodEndpoint: give RUNPOD_API_KEY')
  return runpodEndpoint({ endpointId, apiKey, ...(api === undefined ? {} : { api }) })
}
