import { z } from 'zod'

const poolsSchema = z.array(z.string().min(1)).min(1)

/** What `PATCH /v2/serverless/{id}` takes; an unknown field is refused, as the OpenAPI document says. */
export const patchSchema = z.strictObject({
  name: z.string().min(1).optional(),
  image: z.string().min(1).optional(),
  args: z.string().optional(),
  disk: z.int().min(1).optional(),
  ports: z.array(z.string()).optional(),
  registry: z.string().nullable().optional(),
  /** Replaced whole: whoever names one variable drops all others. */
  env: z.record(z.string(), z.string()).optional(),
  gpu: z
    .strictObject({
      pools: poolsSchema.optional(),
      count: z.int().min(1).optional(),
      excludedTypes: z.array(z.string()).optional(),
      allowedCudaVersions: z.array(z.string()).optional(),
      minCudaVersion: z.string().optional(),
    })
    .optional(),
  workers: z
    .strictObject({
      min: z.int().min(0).optional(),
      max: z.int().min(0).optional(),
      idleTimeout: z.int().min(1).max(3600).optional(),
    })
    .optional(),
  scaling: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('REQUEST_COUNT'), requestCount: z.int().min(1) }),
      z.strictObject({ type: z.literal('QUEUE_DELAY'), queueDelay: z.int().min(1) }),
    ])
    .optional(),
  timeout: z.int().optional(),
  flashboot: z.enum(['OFF', 'FLASHBOOT', 'PRIORITY_FLASHBOOT']).optional(),
  networkVolumes: z.array(z.string()).optional(),
  dataCenterIds: z.array(z.string()).optional(),
})
export type EndpointPatch = z.infer<typeof patchSchema>

/** The endpoint as `GET` shows it, without what only the console uses. */
export type Endpoint = {
  id: string
  name: string
  type: 'QUEUE'
  image: string
  args: string
  disk: number
  ports: string[]
  env: Record<string, string>
  registry: string | null
  gpu: { pools: string[]; count: number; allowedCudaVersions: string[]; minCudaVersion: null }
  workers: { min: number; max: number; idleTimeout?: number }
  scaling: NonNullable<EndpointPatch['scaling']>
  timeout: number
  flashboot: NonNullable<EndpointPatch['flashboot']>
  networkVolumes: string[]
  dataCenterIds: string[]
  createdAt: string
}

export type Release = {
  id: string
  version: number
  source: 'MANUAL'
  createdAt: string
  diff: { field: string }[]
}

/** A queue-based endpoint with no worker at rest. */
export function newEndpoint(id: string, env: Record<string, string>, max: number): Endpoint {
  return {
    id,
    name: 'avatar',
    type: 'QUEUE',
    image: 'registry.example/avatar-sidecar:gpu',
    args: '',
    disk: 20,
    ports: [],
    env,
    registry: null,
    gpu: { pools: ['ADA_48_PRO'], count: 1, allowedCudaVersions: [], minCudaVersion: null },
    workers: { min: 0, max },
    scaling: { type: 'REQUEST_COUNT', requestCount: 1 },
    timeout: 600_000,
    flashboot: 'FLASHBOOT',
    networkVolumes: [],
    dataCenterIds: [],
    createdAt: '2026-11-01T00:00:00Z',
  }
}

/** @returns the patched endpoint, or why the provider refuses the patch with 400 */
export function patched(endpoint: Endpoint, patch: EndpointPatch): Endpoint | string {
  const { gpu, workers, ...rest } = patch
  const given = Object.fromEntries(
    Object.entries(rest).filter(([, value]) => value !== undefined),
  ) as Partial<Endpoint> // Object.fromEntries loses the keys.
  const next: Endpoint = {
    ...endpoint,
    ...given,
    gpu: {
      ...endpoint.gpu,
      ...(gpu?.pools ? { pools: gpu.pools } : {}),
      ...(gpu?.count ? { count: gpu.count } : {}),
    },
    workers: {
      min: workers?.min ?? endpoint.workers.min,
      max: workers?.max ?? endpoint.workers.max,
      ...(workers?.idleTimeout === undefined ? {} : { idleTimeout: workers.idleTimeout }),
    },
  }
  if (next.workers.min > next.workers.max) return 'workers.min exceeds workers.max'
  if (next.scaling.type === 'REQUEST_COUNT' && next.workers.idleTimeout !== undefined)
    return 'workers.idleTimeout is not allowed with REQUEST_COUNT scaling'
  return next
}
