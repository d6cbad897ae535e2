export * from './admin-server.ts'
export * from './api-keys.ts'
export * from './background.ts'
export {
  type Bus,
  type BusMessage,
  type BusOptions,
  connectBus,
  type PublishOptions,
} from './bus.ts'
export type { StoredMessage, StreamState } from './bus-streams.ts'
export * from './clock.ts'
export * from './config.ts'
export * from './consumer-loop.ts'
export * from './errors.ts'
export * from './health.ts'
export * from './log.ts'
export * from './object-store.ts'
export * from './object-store-of.ts'
export type { Change, RecordStore, Versioned } from './record-store.ts'
export * from './service.ts'
export * from './shutdown.ts'
export * from './subscription.ts'
export * from './telemetry.ts'
export * from './trace.ts'
