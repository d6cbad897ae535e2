import { aJob, aRender } from '@avatar/contracts/testing'
import { createObjectStore } from '@avatar/service-kit'
import { afterAll, describe, expect, it } from 'vitest'
import { describeResult } from './describe-result.ts'

const objects = createObjectStore({
  ...{ endpoint: 'http://127.0.0.1:9', bucket: 'b', accessKeyId: 'a', secretAccessKey: 's' },
})
afterAll(() => objects.stop())

describe('the presigned URL of a result', () => {
  const job = aJob({ expiresAtMs: 1_000_000 })
  const url = async (nowMs: number, maxSeconds?: number) => {
    const when = { nowMs, ...(maxSeconds === undefined ? {} : { maxSeconds }) }
    return new URL((await describeResult(objects, job, aRender(), when)).url)
  }
  const secondsOf = async (...when: Parameters<typeof url>) =>
    Number((await url(...when)).searchParams.get('X-Amz-Expires'))

  it('expires with the video, or earlier on request', async () => {
    expect(await secondsOf(0)).toBe(1000)
    expect(await secondsOf(0, 300)).toBe(300)
    expect(await secondsOf(900_500, 300)).toBe(99)
  })

  it('is valid for a second at least, as S3 demands', async () => {
    expect(await secondsOf(999_999)).toBe(1)
    expect(await secondsOf(2_000_000)).toBe(1)
  })

  it('plays as video/mp4, and names the file after the job when it is saved', async () => {
    const { searchParams } = await url(0)
    expect(searchParams.get('response-content-type')).toBe('video/mp4')
    expect(searchParams.get('response-content-disposition')).toBe(
      `inline; filename="avatar-${job.jobId.slice(0, 8)}.mp4"`,
    )
  })
})
