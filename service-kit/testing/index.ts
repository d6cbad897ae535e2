export * from './run-main.ts'
export * from './servers.ts'
export * from './until.ts'
