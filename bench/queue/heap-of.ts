import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { until } from '../../tests/harness/index.ts'

/** What a Node process holds, in bytes. */
export type Memory = {
  /** Live objects, after a full garbage collection. */
  heapBytes: number
  /** What the kernel has given to the process. */
  residentBytes: number
  /** The share of it that objects outside V8's heap take, such as buffers, after the collection. */
  externalBytes: number
}

/** The settings by which services are started so that `memoryOf` can measure them. */
export function inspectorSettings(ports: Readonly<Record<string, number>>): Record<string, string> {
  const settings = Object.entries(ports).map(([name, port]) => [
    ...[`${name.toUpperCase()}_NODE_OPTIONS`, `--inspect-port=${port}`],
  ])
  return Object.fromEntries(settings)
}

/**
 * Measures a Node process, on Linux. SIGUSR1 opens its inspector on `port`, which it must have been
 * started with (`inspectorSettings`).
 */
export async function memoryOf(pid: number, port: number): Promise<Memory> {
  const address = `http://127.0.0.1:${port}/json/list`
  const isOpen = () =>
    fetch(address).then(
      (answer) => answer.json() as Promise<{ webSocketDebuggerUrl: string }[]>,
      () => undefined,
    )
  if (!(await isOpen())) process.kill(pid, 'SIGUSR1')
  const [target] = await until(isOpen, { what: 'an open inspector' })
  const socket = new WebSocket(target?.webSocketDebuggerUrl ?? '')
  await once(socket, 'open')
  let id = 0
  const ask = async (method: string) => {
    socket.send(JSON.stringify({ id: ++id, method }))
    for (;;) {
      const [event] = await once(socket, 'message')
      const answer = JSON.parse(String(event.data))
      if (answer.id === id) return answer.result
    }
  }
  await ask('HeapProfiler.collectGarbage')
  const {
    usedSize,
    embedderHeapUsedSize = 0,
    backingStorageSize = 0,
  } = await ask('Runtime.getHeapUsage')
  socket.close()
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const kibibytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1])
  return {
    heapBytes: usedSize,
    residentBytes: kibibytes * 1024,
    externalBytes: embedderHeapUsedSize + backingStorageSize,
  }
}
