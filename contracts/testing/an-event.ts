import { type EventOf, type EventType, eventSchemas, type Rendered } from '../src/index.ts'

const sha256 = 'c'.repeat(64)

/** What a worker reports about a video of 100 frames. */
export function aRender(difference: Partial<Rendered> = {}): Rendered {
  return {
    key: 'jobs/b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11/out/1/video.mp4',
    bytes: 5000,
    sha256,
    width: 1280,
    height: 720,
    frames: 100,
    fps: 25,
    videoSeconds: 4,
    engine: 'preview',
    engineFacts: {
      device: 'cpu',
      precision: 'uint8',
      attentionBackend: 'none',
      peakMemoryBytes: 0,
      details: {},
    },
    generation: { width: 1280, height: 720 },
    degraded: false,
    renderSeconds: 3,
    ...difference,
  }
}

/** A valid event of the given type. A test names only the fields that it is about. */
export function anEvent<T extends EventType>(
  type: T,
  difference: Partial<EventOf<T>> = {},
): EventOf<T> {
  return eventSchemas[type].parse({
    type,
    jobId: 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11',
    owner: 'o_abcDEF123456',
    epoch: 1,
    revision: 3,
    atMs: 1_700_000_010_000,
    workerId: 'worker-1',
    rendered: aRender(),
    result: aRender(),
    renderStartedAtMs: 1_700_000_001_000,
    renderEndedAtMs: 1_700_000_009_000,
    error: { code: 'RENDER_FAILED', message: 'The engine could not render the job.' },
    code: 'RENDER_FAILED',
    message: 'boom',
    ...difference,
  }) as EventOf<T> // TypeScript does not follow that T selects the schema.
}
