export * from './hand-clock.ts'
export * from './run-main.ts'
export * from './runnable-contract.ts'
export * from './until.ts'
