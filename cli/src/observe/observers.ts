import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { repositoryRoot } from '../stack/installation.ts'

/**
 * The programs that watch the system for `avatar up --observe`. They are no rows of the table of
 * services: the system needs none of them, and nothing but this folder starts one.
 */
export const observers = {
  // It comes first: the others find their ports in what it is told.
  prometheus: { programs: ['prometheus'], isNeeded: true },
  alertmanager: { programs: ['alertmanager', 'prometheus-alertmanager'], isNeeded: true },
  blackbox: { programs: ['blackbox_exporter', 'prometheus-blackbox-exporter'], isNeeded: false },
} as const satisfies Record<string, { programs: readonly string[]; isNeeded: boolean }>

export type ObserverName = keyof typeof observers
export const observerNames = Object.keys(observers) as readonly ObserverName[] // keys() forgets them.

/** Where set-up unpacks them. They find their pages and templates from here, so they start here. */
const unpacked = join(repositoryRoot, '.tools/usr')

export type ObserverProgram = { command: string; cwd: string }

/**
 * The programs that are there: those that set-up has fetched, else those on PATH.
 *
 * @returns undefined when one that is needed is missing
 */
export function findObservers(
  path: string | undefined,
  home = unpacked,
): Partial<Record<ObserverName, ObserverProgram>> | undefined {
  const found: Partial<Record<ObserverName, ObserverProgram>> = {}
  for (const name of observerNames) {
    const { programs, isNeeded } = observers[name]
    const program = programs.map((each) => findProgram(each, path, home)).find(Boolean)
    if (program) found[name] = program
    else if (isNeeded) return undefined
  }
  return found
}

function findProgram(name: string, path = '', home: string): ObserverProgram | undefined {
  const fetched = join(home, 'bin', name)
  if (isExecutable(fetched)) return { command: fetched, cwd: home }
  const command = path
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(isExecutable)
  return command === undefined ? undefined : { command, cwd: repositoryRoot }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
