import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { delimiter, join, resolve } from 'node:path'
import { json } from 'node:stream/consumers'
import { until } from '@avatar/service-kit/testing'
import { z } from 'zod'

const fetched = resolve(import.meta.dirname, '../../.tools/usr/bin')

/** Whether `avatar up --observe` has something to start (`npm run setup -- --with monitoring`). */
export const hasMonitoring = [
  ['prometheus'],
  ['alertmanager', 'prometheus-alertmanager'],
  ['blackbox_exporter', 'prometheus-blackbox-exporter'],
].every((names) =>
  [fetched, ...(process.env['PATH'] ?? '').split(delimiter)].some((folder) =>
    names.some((name) => existsSync(join(folder, name))),
  ),
)

const notificationSchema = z.object({
  receiver: z.string(),
  alerts: z.array(
    z.object({ status: z.enum(['firing', 'resolved']), labels: z.record(z.string(), z.string()) }),
  ),
})
type Told = { receiver: string; status: 'firing' | 'resolved'; labels: Record<string, string> }

/** A door at which Alertmanager knocks. */
export async function startAlertWebhook() {
  const told: Told[] = []
  const server = createServer(async (request, response) => {
    const { receiver, alerts } = notificationSchema.parse(await json(request))
    for (const alert of alerts) told.push({ receiver, ...alert })
    response.end()
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  if (typeof address !== 'object' || !address) throw new Error('the webhook has no port')
  return {
    url: `http://127.0.0.1:${address.port}/`,
    /** Waits until an alert is told after what has been told before; how many that was is `since`. */
    heard: (
      name: string,
      status: Told['status'],
      { since = 0, timeoutMs }: { since?: number; timeoutMs: number },
    ) =>
      until(
        () =>
          told
            .slice(since)
            .find((one) => one.labels['alertname'] === name && one.status === status),
        { timeoutMs, what: `${name} to be told as ${status}` },
      ),
    count: () => told.length,
    stop: () => server.close(),
  }
}

const answerSchema = z.object({
  status: z.literal('success'),
  data: z.object({ result: z.array(z.unknown()) }),
})

/** How many series an expression gives right now. @throws where Prometheus refuses it */
export async function askPrometheus(url: string, expression: string): Promise<number> {
  const query = new URLSearchParams({ query: expression })
  const answer = await fetch(`${url}/api/v1/query?${query}`)
  return answerSchema.parse(await answer.json()).data.result.length
}
