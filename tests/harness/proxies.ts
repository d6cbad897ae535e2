import { type NatsProxy, startNatsProxy } from './nats-proxy.ts'
import { type S3Proxy, startS3Proxy } from './s3-proxy.ts'
import type { Service } from './system.ts'

export type ProxyOptions = {
  /** Services that reach the broker through a proxy; see `NatsProxy`. */
  proxied?: readonly Service[]
  /** Whether all reach the store through a proxy; see `S3Proxy`. */
  hasStoreProxy?: boolean
}

/** Where the servers listen; asked once somebody wants to get through. */
type Servers = { brokerPort: () => Promise<number>; storePort: () => Promise<number> }

/** The proxies of a system that does not run yet, and the environment that leads through them. */
export async function startProxies(
  { proxied = [], hasStoreProxy = false }: ProxyOptions,
  { brokerPort, storePort }: Servers,
) {
  const env: Record<string, string> = {}
  const toBroker = new Map<Service, NatsProxy>()
  for (const service of proxied) {
    const proxy = await startNatsProxy(brokerPort)
    toBroker.set(service, proxy)
    env[`${service.toUpperCase()}_NATS_URL`] = proxy.url
  }
  let toStore: S3Proxy | undefined
  if (hasStoreProxy) {
    toStore = await startS3Proxy(storePort)
    for (const service of ['INGEST', 'ORCHESTRATOR', 'JANITOR'])
      env[`${service}_S3_ENDPOINT`] = toStore.url
  }
  return {
    env,
    toBroker(service: Service): NatsProxy {
      const proxy = toBroker.get(service)
      if (!proxy) throw new Error(`${service} is not proxied`)
      return proxy
    },
    toStore(): S3Proxy {
      if (!toStore) throw new Error('the store is not proxied')
      return toStore
    },
    async stop() {
      for (const proxy of toBroker.values()) await proxy.stop()
      await toStore?.stop()
    },
  }
}
