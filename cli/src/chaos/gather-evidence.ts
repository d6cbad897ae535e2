import { anyEventOf, type EventType, eventSchemas, streams } from '@avatar/contracts'
import { openJobRecords } from '@avatar/job-kit'
import { type Bus, type ObjectStore, readAll } from '@avatar/service-kit'
import { agesOf } from '../store-beside.ts'
import type { Evidence } from './judge.ts'

const anyEvent = anyEventOf(Object.keys(eventSchemas) as EventType[]) // Object.keys forgets them.

/** Every record, and all that was ever told, in its order. */
export async function storyOf(bus: Bus): Promise<Pick<Evidence, 'records' | 'events'>> {
  const records = await (await openJobRecords(bus)).list()
  const stored = await readAll((options) => bus.followStream(streams.EVENTS.name, 'evt.>', options))
  return { records, events: stored.map(({ body }) => anyEvent.parse(body)) }
}

/** What a judge needs of a system, apart from what its clients and its enemies did. */
export async function gatherEvidence(
  bus: Bus,
  objects: ObjectStore,
): Promise<Pick<Evidence, 'records' | 'events' | 'objects' | 'nowMs'>> {
  // In this order, for a job may complete meanwhile: whoever is completed by its record has its video stored.
  const story = await storyOf(bus)
  return { ...story, objects: await agesOf(objects, 'jobs/'), nowMs: await bus.timeMs() }
}
