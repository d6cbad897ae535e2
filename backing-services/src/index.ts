export * from './is-port-free.ts'
export * from './nats-conf.ts'
export * from './provision-broker.ts'
export * from './seaweed.ts'
