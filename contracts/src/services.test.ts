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

  it('names every port once, and every image', () => {
    const ports = processNames.flatMap((name) => {
      const { ports, reservedPorts } = specOf(name)
      return Object.values({ ...ports, ...reservedPorts })
    })
    expect(new Set(ports).size).toBe(ports.length)
    expect(new Set(processNames.map((name) => specOf(name).image)).size).toBe(processNames.length)
  })
})
