import { defaultDataFolder } from './system.ts'

/** Options that several commands take, as Commander's `option` does. */
export const dataOption = [
  '--data <dir>',
  `data folder of the system (default: the environment, else ${defaultDataFolder})`,
] as const
export const configOption = [
  '--config <dir>',
  'the folder of `system init`; the environment then says where the servers are',
] as const
export const jsonOption = ['--json', 'print JSON alone on standard output'] as const
