import { setTimeout as pause } from 'node:timers/promises'
import { processNames } from '@avatar/contracts'
import { pick, seededRandom } from '@avatar/service-kit/testing'
import type { System, Victim } from './system.ts'

type ChaosOptions = {
  seed: number
  kills: number
  /** The longest pause between two kills. */
  pauseMs: number
  victims?: readonly Victim[]
}

const everyone: readonly Victim[] = [...processNames, 'child']

/**
 * Kills random processes with SIGKILL after random pauses, sometimes two at once. No process is killed
 * again before its successor runs. Returns the victims in order.
 */
export async function killAtRandom(system: System, options: ChaosOptions): Promise<Victim[]> {
  const { seed, kills, pauseMs, victims = everyone } = options
  const random = seededRandom(seed)
  const killed: Victim[] = []
  while (killed.length < kills) {
    await pause(random(pauseMs)) // The random moment is the test; there is nothing to wait for.
    const first = pick(victims, random)
    const second = pick(victims, random)
    const isPair = random(4) === 0 && second !== first && killed.length + 2 <= kills
    const now = isPair ? [first, second] : [first]
    await Promise.all(now.map((victim) => system.kill(victim)))
    killed.push(...now)
  }
  return killed
}
