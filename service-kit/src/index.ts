export * from './admin-server.ts'
export * from './api-keys.ts'
export {
  type Bus,
  type BusMessage,
  connectBus,
  type PublishOptions,
  type StoredMessage,
} from './bus.ts'
export * from './bus-consumer.ts'
export * from './clock.ts'
export * from './config.ts'
export * from './errors.ts'
export * from './lifecycle.ts'
export * from './log.ts'
export * from './nats-conf.ts'
export * from './object-store.ts'
export * from './object-store-of.ts'
export * from './provision.ts'
export * from './record-store.ts'
export * from './seaweed-sockets.ts'
export * from './service.ts'
export * from './telemetry.ts'
export * from './trace.ts'
