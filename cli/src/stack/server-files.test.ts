import { describe, expect, it } from 'vitest'
import { renderS3Identities } from './server-files.ts'

describe('the identities of the store', () => {
  it('give a publisher its own folder and nothing else', () => {
    const s3 = { accessKeyId: 'a', secretAccessKey: 'b' }
    const text = renderS3Identities({
      nats: { ingest: '', orchestrator: '', janitor: '', sidecar: '', operator: '' },
      s3,
      publishers: { acme: { natsPassword: '', s3 } },
    })
    const { identities } = JSON.parse(text) as { identities: { name: string; actions: string[] }[] }
    expect(identities.find(({ name }) => name === 'acme')?.actions).toEqual([
      'Read:media/intake/acme/*',
      'Write:media/intake/acme/*',
    ])
  })
})
