import { createApiClient } from '../api-client.ts'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { readinessOf } from '../service-readiness.ts'
import { readStackFile } from '../stack/stack-file.ts'
import { findSystem } from '../system.ts'
import { table } from '../table.ts'

/** `avatar status`: what runs where, and whether it is ready. */
export async function status(
  options: { data?: string; json?: boolean },
  { env, stdout }: CommandContext,
) {
  const system = await findSystem(options.data, env)
  if (!system.url) throw new UserError('Set AVATAR_URL, or give --data.')
  const health = await createApiClient(system.url).health()
  if (!health) throw new UserError(`${system.url} does not answer.`, exitCodes.unreachable)
  const stack = system.data && (await readStackFile(system.data))
  const readiness = stack ? await readinessOf(stack) : []
  if (options.json) {
    const ready = Object.fromEntries(readiness.map(({ name, trouble }) => [name, trouble === '']))
    const processes = stack && { ...stack.processes, ...stack.replicas }
    stdout.write(`${JSON.stringify({ url: system.url, health, processes, ready })}\n`)
    return
  }
  stdout.write(`${system.url}  ${health.status}, ${health.queue_depth} jobs in the queue\n\n`)
  for (const worker of health.workers)
    stdout.write(
      `worker: engine ${worker.engine}, ${worker.state}` +
        `${worker.trouble ? `, its engine does not load: ${worker.trouble}` : ''}\n`,
    )
  if (health.workers.length === 0) stdout.write('no worker is connected\n')
  if (!stack) return
  const readinessOfProcess = (name: string) => {
    const found = readiness.find((one) => one.name === name)
    return found ? found.trouble || 'ready' : ''
  }
  const rows = Object.entries({ ...stack.processes, ...stack.replicas }).map(
    ([name, { pid, ports, trouble }]) => [
      name,
      String(pid),
      Object.entries(ports)
        .map(([port, number]) => `${port} ${number}`)
        .join(', '),
      trouble ?? readinessOfProcess(name),
    ],
  )
  stdout.write(`\n${table(['PROCESS', 'PID', 'PORTS', 'STATE'], rows)}`)
}
