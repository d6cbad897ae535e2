export * from './run-main.ts'
export * from './servers.ts'
