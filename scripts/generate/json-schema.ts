import * as contracts from '@avatar/contracts'
import { z } from 'zod'

/** Every schema of the wire by the name its models have in Python. */
export const wireSchemas: Readonly<Record<string, z.ZodType>> = {
  Beat: contracts.beatSchema,
  CancelRequest: contracts.cancelRequestSchema,
  CancelAnswer: contracts.cancelAnswerSchema,
  ClaimRequest: contracts.claimRequestSchema,
  ClaimAnswer: contracts.claimAnswerSchema,
  DeadLetter: contracts.deadLetterSchema,
  DeletionDue: contracts.deletionDueSchema,
  GpuEntry: contracts.gpuEntrySchema,
  IntakeSubmission: contracts.intakeSubmissionSchema,
  JobRecord: contracts.jobRecordSchema,
  Notification: contracts.notificationSchema,
  StopOrder: contracts.stopOrderSchema,
  StoreRequest: contracts.storeRequestSchema,
  StoreAnswer: contracts.storeAnswerSchema,
  ...Object.fromEntries(
    contracts.eventTypes.map((type) => [modelName(type), contracts.eventSchemas[type]]),
  ),
}

/** `render.completed` → `RenderCompleted` */
function modelName(type: string): string {
  return type
    .split(/[.-]/)
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('')
}

/** The JSON Schema of one message, draft 2020-12. */
export function jsonSchemaOf(name: string): Record<string, unknown> {
  const schema = wireSchemas[name]
  if (!schema) throw new Error(`no schema is called ${name}`)
  const { $schema, ...rest } = z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input' })
  return { $schema, title: name, ...rest }
}

/** `contracts/schema/<name>.json` for every message. */
export function jsonSchemas(): Map<string, string> {
  return new Map(
    Object.keys(wireSchemas).map((name) => [
      `contracts/schema/${name}.json`,
      `${JSON.stringify(jsonSchemaOf(name), null, 2)}\n`,
    ]),
  )
}
