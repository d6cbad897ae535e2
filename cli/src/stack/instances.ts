import { type ProcessName, processNames, type ServiceName, serviceNames } from '@avatar/contracts'
import { exitCodes, UserError } from '../exit-codes.ts'

/** How many processes run of each service; one unless it is named. */
export type Replicas = Readonly<Partial<Record<ServiceName, number>>>

/** One process of the stack. The first of its kind is called as its kind, the others `ingest-2`, … */
export type Instance = { name: ProcessName; number: number; label: string }

/** More of one kind than this on one machine is a slip of the finger. */
const mostReplicas = 32

/** Reads `ingest=2,orchestrator=2`. @throws UserError for anything else */
export function parseReplicas(text: string): Replicas {
  const counts: Partial<Record<ServiceName, number>> = {}
  for (const part of text.split(',')) {
    const [, name, count] = /^\s*([a-z]+)=(\d+)\s*$/.exec(part) ?? []
    const service = serviceNames.find((each) => each === name)
    const number = Number(count)
    if (!service || number < 1 || number > mostReplicas)
      throw new UserError(
        `--replicas takes services and numbers from 1 to ${mostReplicas}, such as ` +
          `ingest=2,orchestrator=2; not "${part}". The services are ${serviceNames.join(', ')}.`,
        exitCodes.usage,
      )
    counts[service] = number
  }
  return counts
}

/** Every process to run, in the order in which they start. */
export function instancesOf(replicas: Replicas): Instance[] {
  const counts: Partial<Record<ProcessName, number>> = replicas
  return processNames.flatMap((name) =>
    Array.from({ length: counts[name] ?? 1 }, (_, before) => ({
      name,
      number: before + 1,
      label: before === 0 ? name : `${name}-${before + 1}`,
    })),
  )
}
