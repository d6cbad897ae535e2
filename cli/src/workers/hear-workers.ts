import { type Beat, beatSchema, subjects } from '@avatar/contracts'
import { type Bus, systemClock as clock } from '@avatar/service-kit'

/** Longer than the time between two heartbeats: whoever lives is heard. */
const listenMs = 3_000

/**
 * The latest heartbeat of each worker that lives, by id: it listens for 3 s.
 *
 * @param isEnough called after each heartbeat; ends the listening early
 */
export async function hearWorkers(
  bus: Bus,
  isEnough: (heard: readonly Beat[]) => boolean = () => false,
): Promise<Beat[]> {
  const heard = new Map<string, Beat>()
  const enough = new AbortController()
  const listening = onBeats(bus, (beat) => {
    if (beat.state === 'gone') heard.delete(beat.workerId)
    else heard.set(beat.workerId, beat)
    if (isEnough([...heard.values()])) enough.abort()
  })
  await clock.wait(listenMs, enough.signal)
  listening.stop()
  return [...heard.values()].toSorted((one, other) => (one.workerId < other.workerId ? -1 : 1))
}

/** Hands over each heartbeat from now on; what is none is ignored. */
export function onBeats(bus: Bus, handle: (beat: Beat) => void) {
  return bus.subscribe(subjects.beat('*'), (message) => {
    const { data: beat } = beatSchema.safeParse(message.json())
    if (beat) handle(beat)
  })
}
