import { z } from 'zod'

/**
 * The fields of a ScaledJob that KEDA knows, but those of `jobTargetRef`, which is a JobSpec of Kubernetes.
 * After kedacore/keda, apis/keda/v1alpha1/scaledjob_types.go and ScaleTriggers in scaledobject_types.go;
 * the metadata of the trigger after pkg/scalers/metrics_api_scaler.go. Unknown names are refused: the
 * cluster would drop them without a word.
 */
export const scaledJobSchema = z.strictObject({
  apiVersion: z.literal('keda.sh/v1alpha1'),
  kind: z.literal('ScaledJob'),
  metadata: z.strictObject({
    name: z.string(),
    namespace: z.string(),
    labels: z.record(z.string(), z.string()),
  }),
  spec: z.strictObject({
    jobTargetRef: z.looseObject({}),
    pollingInterval: z.int().positive(),
    successfulJobsHistoryLimit: z.int().optional(),
    failedJobsHistoryLimit: z.int().optional(),
    rollout: z
      .strictObject({
        strategy: z.enum(['default', 'gradual']),
        propagationPolicy: z.enum(['background', 'foreground']).optional(),
      })
      .optional(),
    envSourceContainerName: z.string().optional(),
    minReplicaCount: z.int().optional(),
    maxReplicaCount: z.int().positive(),
    scalingStrategy: z.strictObject({
      strategy: z.enum(['default', 'custom', 'accurate', 'eager']),
      customScalingQueueLengthDeduction: z.int().optional(),
      customScalingRunningJobPercentage: z.string().optional(),
      pendingPodConditions: z.array(z.string()).optional(),
      multipleScalersCalculation: z.string().optional(),
    }),
    triggers: z.array(
      z.strictObject({
        type: z.literal('metrics-api'),
        name: z.string().optional(),
        useCachedMetrics: z.boolean().optional(),
        metadata: z.strictObject({
          url: z.url(),
          format: z.enum(['json', 'xml', 'yaml', 'prometheus']),
          valueLocation: z.string(),
          // Metadata are texts, numbers too.
          targetValue: z.string().regex(/^\d+(\.\d+)?$/),
          activationTargetValue: z.string().optional(),
        }),
      }),
    ),
  }),
})

/**
 * How many Jobs KEDA starts at one poll under the strategy `default`: as many as the metric asks for, bounded
 * by the maximum, less those that run. After GetEffectiveMaxScale and createJobs in
 * pkg/scaling/executor/scale_jobs.go.
 *
 * @param metric undefined where it could not be read: the trigger is then not active, and nothing starts
 * @param running Jobs that have not ended, of pods that wait for a node too
 */
export function jobsToStart(
  metric: number | undefined,
  running: number,
  { targetValue, maxReplicaCount }: { targetValue: number; maxReplicaCount: number },
): number {
  if (metric === undefined || metric <= 0) return 0
  const queueLength = Math.ceil(metric / targetValue)
  const effectiveMax = Math.min(queueLength, maxReplicaCount) - running
  return Math.max(0, Math.min(queueLength, effectiveMax))
}
