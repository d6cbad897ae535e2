import { setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'
import { type ProviderApi, StepError } from './deployment.ts'

export type RunpodOptions = {
  endpointId: string
  apiKey: string
  /** The default is RunPod's. */
  api?: string
}

const endpointSchema = z.object({ image: z.string() })
const tries = 5
const withinMs = 30_000

/**
 * A serverless endpoint by RunPod's API, version 2. It writes `image` and nothing else: a PATCH of `env`
 * replaces all variables, secrets among them.
 */
export function runpodEndpoint({
  endpointId,
  apiKey,
  api = 'https://api.runpod.io/v2',
}: RunpodOptions): ProviderApi {
  async function call(method: 'GET' | 'PATCH', body?: object) {
    for (let attempt = 1; ; attempt++) {
      const answer = await fetch(`${api}/serverless/${endpointId}`, {
        method,
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
        signal: AbortSignal.timeout(withinMs),
        ...(body ? { body: JSON.stringify(body) } : {}),
      })
      const text = await answer.text()
      if (answer.ok) return endpointSchema.parse(JSON.parse(text))
      const isWorthIt = answer.status === 429 || answer.status >= 500
      if (!isWorthIt || attempt === tries)
        throw new StepError(
          `RunPod answered ${method} with ${answer.status}: ${text.slice(0, 500)}`,
        )
      await wait(Number(answer.headers.get('retry-after') ?? attempt) * 1000)
    }
  }
  return {
    name: 'runpod',
    findImage: async () => (await call('GET')).image,
    async setImage(image) {
      await call('PATCH', { image })
    },
  }
}
