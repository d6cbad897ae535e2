import type { z } from 'zod'
import { apiKeyRecordSchema } from './api-key.ts'
import { eventSchemas } from './events.ts'
import { intakeSubmissionSchema, notificationSchema } from './intake.ts'
import { jobRecordSchema } from './job.ts'
import { billPostingSchema, jobPostingSchema, workerPostingSchema } from './ledger.ts'
import { ownerLimitsSchema } from './owner-limits.ts'
import {
  beatSchema,
  cancelAnswerSchema,
  cancelRequestSchema,
  claimAnswerSchema,
  claimRequestSchema,
  deadLetterSchema,
  deletionDueSchema,
  drainOrderSchema,
  helloAnswerSchema,
  helloRequestSchema,
  nextAnswerSchema,
  nextRequestSchema,
  requestErrorSchema,
  stopOrderSchema,
  storeAnswerSchema,
  storeRequestSchema,
} from './requests.ts'
import { wakeSchema } from './wakes.ts'

const eventWireSchemas = Object.fromEntries(
  Object.entries(eventSchemas).map(([type, schema]) => [wireName(type), schema]),
)

/**
 * The schema of every message between processes. The name is that of its file in `schema/`, of its
 * golden messages in `fixtures/` and, where the sidecar uses it, of its Python model.
 */
export const wireSchemas: Readonly<Record<string, z.ZodType>> = {
  ...eventWireSchemas,
  ApiKeyRecord: apiKeyRecordSchema,
  Beat: beatSchema,
  BillPosting: billPostingSchema,
  CancelAnswer: cancelAnswerSchema,
  CancelRequest: cancelRequestSchema,
  ClaimAnswer: claimAnswerSchema,
  ClaimRequest: claimRequestSchema,
  DeadLetter: deadLetterSchema,
  DeletionDue: deletionDueSchema,
  DrainOrder: drainOrderSchema,
  HelloAnswer: helloAnswerSchema,
  HelloRequest: helloRequestSchema,
  IntakeSubmission: intakeSubmissionSchema,
  JobPosting: jobPostingSchema,
  JobRecord: jobRecordSchema,
  NextAnswer: nextAnswerSchema,
  NextRequest: nextRequestSchema,
  Notification: notificationSchema,
  OwnerLimits: ownerLimitsSchema,
  RequestError: requestErrorSchema,
  StopOrder: stopOrderSchema,
  StoreAnswer: storeAnswerSchema,
  StoreRequest: storeRequestSchema,
  Wake: wakeSchema,
  WorkerPosting: workerPostingSchema,
}

/** The name of an event's schema: `render.completed` → `RenderCompleted`. */
export function wireName(type: string): string {
  return type
    .split(/[.-]/)
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('')
}
