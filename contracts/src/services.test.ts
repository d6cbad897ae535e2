import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { processNames, serverNames, serviceNames, specOf } from './services.ts'
import { servicePermissions, serviceUsers } from './users.ts'

describe('the table of services', () => {
  it('starts every server before any service', () => {
    expect(processNames).toEqual([...serverNames, ...serviceNames])
  })

  it('gives every service, and nobody else but the operator, a user with permissions', () => {
    expect(serviceUsers).toEqual([...serviceNames, 'operator'])
    expect(Object.keys(servicePermissions).toSorted()).toEqual([...serviceUsers].toSorted())
  })

  it('names every port once, and one image for all of a kind', () => {
    const ports = processNames.flatMap((name) => {
      const { ports, reservedPorts } = specOf(name)
      return Object.values({ ...ports, ...reservedPorts })
    })
    expect(new Set(ports).size).toBe(ports.length)
    for (const kind of ['node', 'python'] as const) {
      const alike = processNames.filter((name) => specOf(name).kind === kind)
      expect(new Set(alike.map((name) => specOf(name).image)).size).toBe(1)
    }
  })

  it('is the only list of services: nothing else in these rooms names three of them', () => {
    const root = join(import.meta.dirname, '../..')
    const rooms = '{cli/src,backing-services/{src,testing},tests/harness}/**/*.ts'
    const files = globSync(rooms, { cwd: root }).filter((file) => !file.endsWith('.test.ts'))
    const withoutComments = (text: string) => text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
    const naming = files.filter((file) => {
      const code = withoutComments(readFileSync(join(root, file), 'utf8'))
      const named = serviceNames.filter((name) => new RegExp(`\\b${name}\\b`, 'i').test(code))
      return named.length > 2
    })
    expect(files.length).toBeGreaterThan(0)
    expect(naming).toEqual([])
  })
})
