import type { ConsumerConfig, StreamConfig } from '@nats-io/jetstream'
import { describe, expect, it } from 'vitest'
import { compareConsumer, compareStream, withoutShrinking } from './provision-plan.ts'

const stream = (differs: object = {}) =>
  ({
    name: 'EVENTS',
    subjects: ['evt.>'],
    retention: 'limits',
    storage: 'file',
    max_bytes: 1_000,
    max_age: 500,
    max_msgs_per_subject: -1,
    allow_direct: true,
    ...differs,
  }) as StreamConfig
const kinds = (existing: object, wanted: object = {}) =>
  compareStream(stream(existing), stream(wanted)).map(({ kind, fields }) => [
    kind,
    fields.map(({ field }) => field),
  ])

describe('the plan of a stream', () => {
  it('is empty when the broker has it, however it writes "none"', () => {
    expect(compareStream(stream(), stream())).toEqual([])
    expect(kinds({ max_age: 0 }, { max_age: -1 })).toEqual([])
    expect(kinds({ deny_delete: undefined }, { deny_delete: false })).toEqual([])
  })

  it('creates what is not there', () => {
    expect(compareStream(undefined, stream())).toEqual([
      { kind: 'create', what: 'stream EVENTS', fields: [] },
    ])
  })

  it.each([
    ['fewer bytes', { max_bytes: 2_000 }, {}, 'max_bytes'],
    ['bytes after any number', { max_bytes: -1 }, {}, 'max_bytes'],
    ['a shorter life', { max_age: 900 }, {}, 'max_age'],
    ['a life after an endless one', { max_age: 0 }, {}, 'max_age'],
    ['fewer for each subject', { max_msgs_per_subject: 9 }, { max_msgs_per_subject: 5 }, ''],
  ])('says that %s lose messages', (_what, existing, wanted, field) => {
    expect(kinds(existing, wanted)).toEqual([['shrink', [field || 'max_msgs_per_subject']]])
  })

  it.each([
    ['more bytes', { max_bytes: 500 }, {}],
    ['no limit', {}, { max_bytes: -1 }],
    ['other subjects', {}, { subjects: ['evt.>', 'fact.>'] }],
    ['larger messages', { max_msg_size: 5 }, { max_msg_size: 9 }],
    ['smaller messages, which are only refused', { max_msg_size: 9 }, { max_msg_size: 5 }],
    ['schedules', {}, { allow_msg_schedules: true }],
  ])('changes %s', (_what, existing, wanted) => {
    expect(kinds(existing, wanted).map(([kind]) => kind)).toEqual(['change'])
  })

  it.each([
    ['another retention', { retention: 'workqueue' }, {}],
    ['another storage', { storage: 'memory' }, {}],
    ['schedules switched off', { allow_msg_schedules: true }, { allow_msg_schedules: false }],
    ['deletion allowed', { deny_delete: true }, { deny_delete: false }],
  ])('says that the broker refuses %s', (_what, existing, wanted) => {
    expect(kinds(existing, wanted).map(([kind]) => kind)).toEqual(['impossible'])
  })

  it('tells each kind of change by itself, with both values', () => {
    const plan = compareStream(stream({ max_bytes: 9_000, subjects: ['old'] }), stream())
    expect(plan).toEqual([
      {
        kind: 'change',
        what: 'stream EVENTS',
        fields: [{ field: 'subjects', from: ['old'], to: ['evt.>'] }],
      },
      {
        kind: 'shrink',
        what: 'stream EVENTS',
        fields: [{ field: 'max_bytes', from: 9_000, to: 1_000 }],
      },
    ])
  })
})

it('keeps the wider limits of a stream and takes over the rest', () => {
  const existing = stream({ max_bytes: -1, max_age: 400, subjects: ['old'] })
  const target = withoutShrinking(existing, stream())
  expect(target).toMatchObject({ max_bytes: -1, max_age: 500, subjects: ['evt.>'] })
})

it("plans a consumer's changes, and those that the broker refuses", () => {
  const wanted = { durable_name: 'storage', ack_wait: 5, ack_policy: 'explicit', max_waiting: 512 }
  const plan = (differs: object) =>
    compareConsumer({ ...wanted, ...differs } as ConsumerConfig, wanted as never, 'EVENTS')
  expect(plan({})).toEqual([])
  expect(plan({ ack_wait: 9 })[0]).toMatchObject({
    kind: 'change',
    what: 'consumer EVENTS/storage',
  })
  expect(plan({ ack_policy: 'none' })[0]?.kind).toBe('impossible')
  expect(plan({ max_waiting: 9 })[0]?.kind).toBe('impossible')
})
