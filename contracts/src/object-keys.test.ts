import { describe, expect, it } from 'vitest'
import {
  inputKey,
  intakePrefix,
  isIntakeKeyOf,
  jobIdOfKey,
  jobPrefix,
  outputKey,
  publisherNameSchema,
} from './object-keys.ts'

const jobId = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11'

describe('object keys', () => {
  it('lie under the prefix of their job, one per admission or epoch', () => {
    expect(inputKey(jobId, 'n1', 'abc', 'png')).toBe(`${jobPrefix(jobId)}input/n1-abc.png`)
    expect(outputKey(jobId, 2)).toBe(`${jobPrefix(jobId)}out/2/video.mp4`)
  })

  it('reveal the job they belong to, and no other key does', () => {
    expect(jobIdOfKey(outputKey(jobId, 2))).toBe(jobId)
    for (const key of ['jobs/x/input/a', jobPrefix(jobId), 'intake/acme/a'])
      expect(jobIdOfKey(key)).toBeUndefined()
  })

  it('belong to a publisher only inside its own folder, without dot segments', () => {
    expect(isIntakeKeyOf('acme', `${intakePrefix('acme')}2026/a.png`)).toBe(true)
    for (const key of [
      'intake/other/a.png',
      'intake/acme/../other/a.png',
      'intake/acme/./a.png',
      'intake/acme//a.png',
      'intake/acme/',
      `jobs/${jobId}/input/a.png`,
      'intake/acme/ä.png',
    ])
      expect(isIntakeKeyOf('acme', key), key).toBe(false)
  })

  it('allow short lower-case publisher names that are one subject token', () => {
    expect(publisherNameSchema.safeParse('acme-2').success).toBe(true)
    for (const name of ['a', 'Acme', '2fast', 'a.b', 'a_b', 'x'.repeat(33), 'ingest', 'operator'])
      expect(publisherNameSchema.safeParse(name).success, name).toBe(false)
  })
})
