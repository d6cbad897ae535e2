/**
 * Names of spans and of their attributes, which both languages write. `gen_ai.*` and `messaging.*` are
 * marked Development in the semantic conventions 1.45 and change often: they stand here alone.
 */
export const spanNames = {
  job: 'job',
  queue: 'queue',
  attempt: 'attempt',
  readUpload: 'read upload',
  checkImage: 'check image',
  checkAudio: 'check audio',
  storeImage: 'store image',
  storeAudio: 'store audio',
  createRecord: 'create record',
  answerClaim: 'answer claim',
  answerStore: 'answer store',
  verify: 'verify',
  deleteObjects: 'delete objects',
  fetchImage: 'fetch image',
  fetchAudio: 'fetch audio',
  waitForEngine: 'wait for the engine',
  render: 'render',
  prepare: 'prepare',
  chunk: 'chunk',
  finishFile: 'finish file',
  upload: 'upload',
  startWorker: 'start worker',
  spawn: 'spawn',
  weights: 'weights',
  engine: 'engine',
  calibrate: 'calibrate',
} as const

/**
 * `publish evt.job.submitted.{job}`, `process due.delete.{job}`: the subject with its ids left open.
 * `POST /generate`: method and route.
 */
export type SpanName =
  | (typeof spanNames)[keyof typeof spanNames]
  | `${'publish' | 'process'} ${string}`
  | `${'GET' | 'POST'} /${string}`

export const spanAttributes = {
  jobId: 'avatar.job.id',
  attempt: 'avatar.attempt',
  owner: 'avatar.owner',
  door: 'avatar.door',
  state: 'avatar.state',
  answer: 'avatar.answer',
  outcome: 'avatar.outcome',
  code: 'avatar.code',
  blame: 'avatar.blame',
  attempts: 'avatar.attempts',
  audioSeconds: 'avatar.audio_seconds',
  costUsd: 'avatar.cost_usd',
  /** `warm` or `cold`. */
  start: 'avatar.start',
  worker: 'avatar.worker',
  engine: 'avatar.engine',
  engineState: 'avatar.engine_state',
  size: 'avatar.size',
  frames: 'avatar.frames',
  degraded: 'avatar.degraded',
  resumedChunks: 'avatar.resumed_chunks',
  chunk: 'avatar.chunk',
  steps: 'avatar.steps',
  bytes: 'avatar.bytes',
  tries: 'avatar.tries',
  fault: 'avatar.fault',
  delivery: 'avatar.delivery',
  objects: 'avatar.objects',
  lateSeconds: 'avatar.late_seconds',
  errorType: 'error.type',
  httpMethod: 'http.request.method',
  httpRoute: 'http.route',
  httpStatus: 'http.response.status_code',
  httpResendCount: 'http.request.resend_count',
  messagingSystem: 'messaging.system',
  messagingOperation: 'messaging.operation.name',
  messagingType: 'messaging.operation.type',
  messagingTemplate: 'messaging.destination.template',
  messagingId: 'messaging.message.id',
  messagingConsumer: 'messaging.consumer.group.name',
  genAiOperation: 'gen_ai.operation.name',
  genAiProvider: 'gen_ai.provider.name',
  genAiModel: 'gen_ai.request.model',
  genAiSeed: 'gen_ai.request.seed',
  genAiOutput: 'gen_ai.output.type',
} as const

export type SpanAttributeName = (typeof spanAttributes)[keyof typeof spanAttributes]

/** The messaging attributes that never differ: of a message that is sent, and of one that is handled. */
export const messagingAttributes = {
  publish: {
    [spanAttributes.messagingSystem]: 'nats',
    [spanAttributes.messagingOperation]: 'publish',
    [spanAttributes.messagingType]: 'send',
  },
  process: {
    [spanAttributes.messagingSystem]: 'nats',
    [spanAttributes.messagingOperation]: 'process',
    [spanAttributes.messagingType]: 'process',
  },
} as const

/** What a span may carry; the rest is cut. */
export const spanLimits = {
  attributesPerSpan: 64,
  charactersPerValue: 512,
  chunksPerRender: 200,
  spansPerMessage: 64,
  bytesPerMessage: 48 * 1024,
} as const
