import { type ServiceName, serviceNames, specOf } from '@avatar/contracts'
import { type NatsProxy, startNatsProxy } from './nats-proxy.ts'
import { type S3Proxy, startS3Proxy } from './s3-proxy.ts'

export type ProxyOptions = {
  /** The services that reach the broker through a proxy; see `NatsProxy`. */
  proxied?: readonly ServiceName[]
  /** Whether all services reach the store through a proxy; see `S3Proxy`. */
  hasStoreProxy?: boolean
}

/** The servers' ports, looked up at each connection. */
type Servers = { brokerPort: () => Promise<number>; storePort: () => Promise<number> }

/** Proxies for a system that is not running yet, and the environment that makes services use them. */
export async function startProxies(
  { proxied = [], hasStoreProxy = false }: ProxyOptions,
  { brokerPort, storePort }: Servers,
) {
  const env: Record<string, string> = {}
  const toBroker = new Map<ServiceName, NatsProxy>()
  for (const service of proxied) {
    const proxy = await startNatsProxy(brokerPort)
    toBroker.set(service, proxy)
    env[`${service.toUpperCase()}_NATS_URL`] = proxy.url
  }
  let toStore: S3Proxy | undefined
  if (hasStoreProxy) {
    toStore = await startS3Proxy(storePort)
    for (const service of serviceNames)
      if (specOf(service).needs?.includes('store'))
        env[`${service.toUpperCase()}_S3_ENDPOINT`] = toStore.url
  }
  return {
    env,
    toBroker(service: ServiceName): NatsProxy {
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
