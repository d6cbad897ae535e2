import { type LimitName, limitNames, limitTable } from '@avatar/contracts'
import type { Command } from 'commander'

/** Adds `--renders N`, `--budget-per-day AMOUNT` and so on, one for each limit, and `--unset`. */
export function withLimitOptions(command: Command): Command {
  for (const limit of limitNames) {
    const { name, kind, what } = limitTable[limit]
    command.option(`--${name} <${kind === 'amount' ? 'amount' : 'n'}>`, what)
  }
  return command.option(
    '--unset <limit>',
    'return to the default, such as --unset renders; may be repeated',
    (name: string, before: string[] = []) => [...before, name],
  )
}

/** The limits among the options of a command: Commander names them by their flags. */
export function limitsAmong(
  options: Readonly<Record<string, unknown>>,
): Partial<Record<LimitName, string>> {
  const camel = (name: string) => name.replace(/-(\w)/g, (_, letter) => letter.toUpperCase())
  const typed: Partial<Record<LimitName, string>> = {}
  for (const limit of limitNames) {
    const value = options[camel(limitTable[limit].name)]
    if (typeof value === 'string') typed[limit] = value
  }
  return typed
}
