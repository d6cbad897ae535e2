import { inboxPrefix, reloadUser } from '@avatar/contracts'
import { connect } from '@nats-io/transport-node'
import { z } from 'zod'
import { BrokerUnreachable } from './operator-connection.ts'

const answerWithinMs = 5_000
/** How long servers of a cluster may take to name themselves. */
const namedWithinMs = 500

const pongSchema = z.object({ server: z.object({ id: z.string() }) })
const reloadedSchema = z.object({ error: z.object({ description: z.string() }).optional() })

/**
 * Has every server of the broker read its configuration again, over NATS. Whoever is new may then connect,
 * and whoever is not named any more is disconnected; all others stay.
 *
 * @throws BrokerUnreachable; Error with the broker's words when it refuses the configuration
 */
export async function reloadBroker(access: { url: string; password: string }): Promise<void> {
  const connection = await connect({
    servers: access.url,
    user: reloadUser,
    pass: access.password,
    inboxPrefix: inboxPrefix(reloadUser),
    timeout: answerWithinMs,
    reconnect: false,
  }).catch((cause) => {
    throw new BrokerUnreachable(cause)
  })
  try {
    const pongs = await connection.requestMany('$SYS.REQ.SERVER.PING', '', {
      maxWait: namedWithinMs,
    })
    const servers: string[] = []
    for await (const pong of pongs) servers.push(pongSchema.parse(pong.json()).server.id)
    for (const id of servers) {
      const subject = `$SYS.REQ.SERVER.${id}.RELOAD`
      const reply = await connection.request(subject, '', { timeout: answerWithinMs })
      const { error } = reloadedSchema.parse(reply.json())
      if (error) throw new Error(`The broker refuses its configuration: ${error.description}`)
    }
  } finally {
    await connection.close()
  }
}
