import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import { type JobPosting, subjects, timings, type WorkerPosting } from '@avatar/contracts'
import { aJobPosting, aWorkerPosting } from '@avatar/contracts/testing'
import { avatar, launch } from './cli-run.ts'

/** A broker alone, which is all that some commands need. */
export async function startBroker() {
  const nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, timings)
  const bus = await nats.connectAs('operator')
  const { url, user, password } = nats.operator
  const access = { NATS_URL: url, NATS_USER: user, NATS_PASSWORD: password }
  return {
    nats,
    bus,
    /** Runs a command on this broker, with these variables besides. */
    here: (args: readonly string[], env: Record<string, string> = {}) =>
      avatar(args, { ...access, ...env }),
    /** The same, without waiting for its end. */
    launch: (args: readonly string[], env: Record<string, string> = {}) =>
      launch(args, { ...access, ...env }),
    postJob(day: string, difference: Partial<JobPosting>) {
      const posting = aJobPosting({ jobId: randomUUID(), ...difference })
      return bus.publish(subjects.jobPosting(day, posting.owner, posting.jobId), posting)
    },
    postWorker(day: string, difference: Partial<WorkerPosting>) {
      const posting = aWorkerPosting(difference)
      const { workerId, incarnation } = posting
      return bus.publish(subjects.workerPosting(day, workerId, incarnation), posting)
    },
    async stop() {
      await bus.stop()
      await nats.stop()
    },
  }
}

export type BrokerOnly = Awaited<ReturnType<typeof startBroker>>
