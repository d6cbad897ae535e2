import { type JobRecord, jobRecordSchema } from '../src/index.ts'

const sha256 = 'a'.repeat(64)

/** A valid record of a queued job. A test names only the fields that it is about. */
export function aJob(difference: Partial<JobRecord> = {}): JobRecord {
  const jobId = difference.jobId ?? 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11'
  return jobRecordSchema.parse({
    jobId,
    owner: 'o_abcDEF123456',
    door: 'rest',
    fingerprint: sha256,
    nonce: '0123456789abcdef',
    state: 'queued',
    epoch: 0,
    image: { key: `jobs/${jobId}/input/n-i.png`, bytes: 1000, sha256, width: 512, height: 600 },
    audio: { key: `jobs/${jobId}/input/n-a.wav`, bytes: 2000, sha256, seconds: 4 },
    prompt: '',
    seed: 7,
    frames: 100,
    delivery: { width: 960, height: 960 },
    traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
    createdAtMs: 1_700_000_000_000,
    estimatedSeconds: 8,
    deadlineSeconds: 600,
    failures: 0,
    deaths: 0,
    losses: 0,
    ...difference,
  })
}
