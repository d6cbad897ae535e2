import { setTimeout as pause } from 'node:timers/promises'
import { openConnection, type RawConnection } from './raw-connection.ts'

/** Hundreds of bad clients in a process of their own, so that their work is not taken for ingest's. */
export type Attack = {
  url: string
  /** The beginning of an upload. */
  begun: Uint8Array
  dawdling: number
  leaving: number
  /** For so long clients come, at even distances, that hang up. */
  overMs: number
}
export type AttackOutcome = {
  /** How many hung up in the middle of their upload, unanswered. */
  left: number
  /** How those were answered that were refused at once. */
  refusals: string[]
}

/** How long a client stays before it hangs up. */
const stayMs = 500

async function dawdle(url: string): Promise<RawConnection> {
  const connection = await openConnection(url)
  connection.socket.write('POST /gen')
  return connection
}

/** @returns what it was answered before it left */
async function leave({ url, begun }: Attack): Promise<string> {
  const connection = await openConnection(url)
  connection.socket.write(begun)
  await pause(stayMs)
  connection.socket.destroy()
  return connection.text
}

async function attack(order: Attack) {
  const dawdling = await Promise.all(
    Array.from({ length: order.dawdling }, () => dawdle(order.url)),
  )
  process.send?.('dawdling')
  const leaving: Promise<string>[] = []
  while (leaving.length < order.leaving) {
    leaving.push(leave(order))
    await pause(order.overMs / order.leaving)
  }
  const refusals = (await Promise.all(leaving)).filter(Boolean)
  process.send?.({ left: leaving.length - refusals.length, refusals } satisfies AttackOutcome)
  // Their heads are not there in time, and the server closes their connections.
  await Promise.all(
    dawdling.map(
      ({ socket }) => new Promise((done) => socket.closed || socket.once('close', done)),
    ),
  )
  process.send?.('closed')
  process.disconnect()
}

process.once('message', (order) => void attack(order as Attack)) // Only the test sends.
