import { describe, expect, it } from 'vitest'
import { instancesOf, parseReplicas } from './instances.ts'

describe('--replicas', () => {
  it('is read as a number for each service', () => {
    expect(parseReplicas('ingest=2,orchestrator=3')).toEqual({ ingest: 2, orchestrator: 3 })
    expect(parseReplicas('sidecar=1')).toEqual({ sidecar: 1 })
  })

  it.each(['', 'ingest', 'ingest=0', 'ingest=33', 'ingest=-1', 'nats=2', 'ingest=2;janitor=2'])(
    'refuses %j, and says what it takes',
    (text) => {
      expect(() => parseReplicas(text)).toThrow(/^--replicas takes services and numbers/)
    },
  )
})

it('names the first process of a service as the service, and numbers the others', () => {
  const labels = instancesOf({ ingest: 2, sidecar: 3 }).map(({ label }) => label)
  expect(labels).toEqual([
    ...['nats', 's3', 'ingest', 'ingest-2', 'orchestrator', 'janitor'],
    ...['sidecar', 'sidecar-2', 'sidecar-3'],
  ])
})
