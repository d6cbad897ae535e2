import { inboxPrefix } from '@avatar/contracts'
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { connect, errors, type NatsConnection } from '@nats-io/transport-node'

/** How long one request to the broker may take. */
const answerWithinMs = 5_000

/** The broker's address and its operator, the only user that may provision it. */
export type OperatorAccess = { url: string; user: string; password: string }

/** The broker cannot be reached, or does not know this user: then trying again is of no use. */
export class BrokerUnreachable extends Error {
  override readonly name = 'BrokerUnreachable'
  readonly isRefusal: boolean

  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.isRefusal =
      cause instanceof errors.AuthorizationError ||
      cause instanceof errors.UserAuthenticationExpiredError
  }
}

/**
 * Does something as the broker's operator, over a connection of its own that does not reconnect.
 *
 * @throws BrokerUnreachable, and whatever `act` throws
 */
export async function asBrokerOperator<T>(
  { url, user, password }: OperatorAccess,
  act: (manager: JetStreamManager, connection: NatsConnection) => Promise<T>,
): Promise<T> {
  const connection = await connect({
    servers: url,
    user,
    pass: password,
    inboxPrefix: inboxPrefix(user),
    timeout: answerWithinMs,
    reconnect: false,
  }).catch((cause) => {
    throw new BrokerUnreachable(cause)
  })
  try {
    const manager = await jetstreamManager(connection, {
      checkAPI: false,
      timeout: answerWithinMs,
    })
    return await act(manager, connection)
  } finally {
    await connection.close()
  }
}
