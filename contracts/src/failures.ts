/** Whose fault a failure is. Only `us` pages anyone. */
export const blames = ['caller', 'us', 'dependency'] as const
type Blame = (typeof blames)[number]

/** What follows from a failure, and what the caller is told. */
export type Failure = {
  /** `reject`: trying again cannot help. `retry`: it may help. */
  readonly outcome: 'reject' | 'retry'
  readonly httpStatus: number
  readonly blame: Blame
  /** For the caller: what is wrong and what to do about it. */
  readonly summary: string
}

/**
 * Every way a request or a job can fail. The code decides the rest: the HTTP status, whether the
 * message is dead-lettered or redelivered, the level of the log line, and whom the failure blames.
 *
 * `reject` ends a job; after `retry` another attempt may follow. Over HTTP, a `retry` failure carries
 * `Retry-After`.
 */
export const failures = {
  IMAGE_MISSING: reject(
    400,
    'Send the portrait as the multipart file field "image", or a video as "video".',
  ),
  AUDIO_MISSING: reject(400, 'Send the voice recording as the multipart file field "audio".'),
  INVALID_IMAGE_FORMAT: reject(400, 'Image must be PNG or JPEG.'),
  IMAGE_UNREADABLE: reject(400, 'The image could not be decoded; export it again as PNG or JPEG.'),
  IMAGE_DIMENSIONS: reject(
    400,
    'The image must be 128 to 8192 pixels on each side and at most 40 megapixels; resize it.',
  ),
  INVALID_VIDEO_FORMAT: reject(
    400,
    'Video must be MP4, MOV or WebM, 128 to 4096 pixels on each side.',
  ),
  VIDEO_UNREADABLE: reject(
    400,
    'The video could not be decoded; export it again as MP4 with H.264.',
  ),
  VIDEO_TOO_LONG: reject(400, 'Video must be at most 5 minutes long; cut it into parts.'),
  INVALID_AUDIO_FORMAT: reject(400, 'Audio must be WAV or MP3.'),
  AUDIO_UNREADABLE: reject(400, 'The audio could not be decoded; export it again as WAV or MP3.'),
  AUDIO_EMPTY: reject(400, 'The audio is silent or shorter than 0.2 seconds; record it again.'),
  AUDIO_TOO_LONG: reject(400, 'Audio must be at most 5 minutes long; cut it into parts.'),
  SPEAKER_NOT_FOUND: reject(
    400,
    'There is no face where the speaker should be; look at the picture, and count from the left, from 0.',
  ),
  FACE_TURNED: reject(
    400,
    'The face is turned too far to the side; send a portrait that looks into the camera.',
  ),
  FACE_TOO_SMALL: reject(
    400,
    'The face is too small; crop the image around the head, or send a larger one.',
  ),
  NO_FACE: reject(400, 'No face was found in the image; send a frontal portrait of one person.'),
  FACE_UNUSABLE: reject(
    400,
    'The engine cannot use the face in the image; send a frontal portrait, the right way up.',
  ),
  INVALID_REQUEST: reject(400, 'A field of the request is not valid; see details.'),
  MALFORMED_MULTIPART: reject(400, 'The multipart body is incomplete or malformed; see details.'),
  MALFORMED_REQUEST: reject(400, 'The request is not valid HTTP; check the URL and the headers.'),
  UNAUTHORIZED: reject(
    401,
    'Send a valid API key as "Authorization: Bearer <key>" or "X-API-Key: <key>".',
  ),
  JOB_NOT_FOUND: reject(404, 'No such job.'),
  ROUTE_NOT_FOUND: reject(404, 'No such route; /docs lists them all.'),
  METHOD_NOT_ALLOWED: reject(405, 'This path does not take that method; see details and `Allow`.'),
  REQUEST_TIMEOUT: retry(408, 'caller', 'The request did not arrive in time; send it again.'),
  JOB_NOT_COMPLETED: reject(409, 'The job has no result; /status shows its state.'),
  JOB_ALREADY_FINISHED: reject(409, 'The job has already finished and cannot be cancelled.'),
  RESULT_DELETED: reject(
    410,
    'The result was deleted at the end of its retention; submit the job again.',
  ),
  IMAGE_TOO_LARGE: reject(413, 'The image must be at most 10 MB.'),
  VIDEO_TOO_LARGE: reject(413, 'The video must be at most 200 MB.'),
  AUDIO_TOO_LARGE: reject(413, 'The audio must be at most 50 MB.'),
  BODY_TOO_LARGE: reject(
    413,
    'The upload is too large; an image may have 10 MB, a recording 50 MB and a video 200 MB.',
  ),
  URL_TOO_LONG: reject(414, 'The URL is too long.'),
  UNSUPPORTED_MEDIA_TYPE: reject(415, 'Send multipart/form-data without compression; see details.'),
  IDEMPOTENCY_KEY_REUSED: reject(
    422,
    'This Idempotency-Key was used for another request; choose a new key.',
  ),
  NOT_OFFERED: reject(
    422,
    'No worker of this installation can do this; /health lists what its workers offer.',
  ),
  CLIENT_GONE: reject(400, 'The client hung up before it was answered.'),
  TOO_MANY_REQUESTS: retry(429, 'caller', 'Too many requests; try again after Retry-After.'),
  TOO_MANY_JOBS: retry(429, 'caller', 'Too many unfinished jobs; wait until one has ended.'),
  GPU_SECONDS_EXHAUSTED: retry(
    429,
    'caller',
    "The day's GPU seconds are used up; they are renewed at 00:00 UTC.",
  ),
  BUDGET_EXHAUSTED: reject(402, 'The budget is used up; see details for when it is renewed.'),
  QUEUE_FULL: retry(503, 'us', 'The queue is full; try again after Retry-After.'),
  SERVICE_BUDGET_EXHAUSTED: retry(
    503,
    'us',
    "The service's budget for the day is used up; it is renewed at 00:00 UTC.",
  ),
  BROKER_UNAVAILABLE: retry(
    503,
    'dependency',
    'The queue did not answer. It is safe to retry with the same Idempotency-Key.',
  ),
  STORE_UNAVAILABLE: retry(
    503,
    'dependency',
    'Storage did not answer. It is safe to retry with the same Idempotency-Key.',
  ),
  PROVIDER_UNAVAILABLE: retry(503, 'dependency', 'The provider of GPU workers did not answer.'),
  ORCHESTRATOR_UNAVAILABLE: retry(503, 'us', 'The orchestrator did not answer; try again.'),
  STORAGE_FULL: retry(
    503,
    'us',
    'There is not enough disk space for the upload right now; try again.',
  ),
  DRAINING: retry(503, 'dependency', 'This instance is shutting down; try again.'),
  UNEXPECTED: retry(500, 'us', 'Something went wrong on our side.'),
  INPUT_GONE: reject(410, 'The inputs of the job are gone; submit it again.', 'us'),
  RENDER_FAILED: retry(500, 'us', 'The engine could not render the job.'),
  RENDER_BROKEN: retry(500, 'us', 'The engine rendered a picture that cannot be right.'),
  RENDER_PROCESS_DIED: retry(500, 'us', 'The render process died.'),
  GPU_OUT_OF_MEMORY: reject(
    500,
    'The job does not fit into GPU memory, even at a smaller size.',
    'us',
  ),
  DEADLINE_EXCEEDED: reject(500, 'The render passed its deadline.', 'us'),
  UPLOAD_FAILED: reject(
    500,
    'The finished video could not be stored; submit the job again.',
    'dependency',
  ),
  OUTPUT_INVALID: retry(500, 'us', 'The stored video differs from the one that was rendered.'),
  WORKER_LOST: retry(500, 'us', 'The workers that took the job stopped responding.'),
  QUEUE_TIMEOUT: reject(500, 'No worker took the job in time; submit it again.', 'us'),
  PUBLISH_REFUSED: reject(500, 'The broker permanently rejected one of our messages.', 'us'),
  FOREIGN_OBJECT: reject(
    400,
    'The event names an object outside the intake folder of its publisher.',
  ),
  OBJECT_MISSING: reject(400, 'The event names an object that does not exist.'),
  INVALID_MESSAGE: reject(400, 'The message does not follow its schema.'),
} as const satisfies Record<string, Failure>

export type FailureCode = keyof typeof failures

/** The codes as a list, for schemas and generated files. */
export const failureCodes = Object.keys(failures) as [FailureCode, ...FailureCode[]]

function reject(httpStatus: number, summary: string, blame: Blame = 'caller'): Failure {
  return { outcome: 'reject', httpStatus, blame, summary }
}

function retry(httpStatus: number, blame: Blame, summary: string): Failure {
  return { outcome: 'retry', httpStatus, blame, summary }
}
