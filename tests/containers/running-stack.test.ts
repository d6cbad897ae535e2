import { afterAll, beforeAll, describe } from 'vitest'
import { checkConfinement } from './checks/confinement.ts'
import { checkCrashes } from './checks/crashes.ts'
import { checkEdge } from './checks/edge.ts'
import { checkFirstVideo } from './checks/first-video.ts'
import { checkReach } from './checks/reach.ts'
import { checkRestore } from './checks/restore.ts'
import { checkStops } from './checks/stops.ts'
import { checkUpgrade } from './checks/upgrade.ts'
import { hasCompose } from './compose-project.ts'
import { endStack, prepareStack, putBehindTls, type Stack, startStack } from './stack.ts'

const upWithinMs = 300_000

/** One system for all checks, in this order: starting another one takes longer than most of them. */
describe.skipIf(!hasCompose)('the whole system', () => {
  let stack: Stack
  const stackOf = () => stack

  beforeAll(async () => {
    stack = await prepareStack()
    await startStack(stack)
  }, upWithinMs)
  afterAll(async () => {
    console.log('Measured, in ms:', stack.measured)
    await endStack(stack)
  })

  describe('from empty volumes', () => {
    checkFirstVideo(stackOf)
    checkConfinement(stackOf)
    checkReach(stackOf)
  })
  describe('behind TLS', () => {
    beforeAll(() => putBehindTls(stack), upWithinMs)
    checkEdge(stackOf)
    describe('when it is stopped', () => checkStops(stackOf))
    describe('when it is upgraded', () => checkUpgrade(stackOf))
    describe('when it crashes', () => checkCrashes(stackOf))
    describe('when its disk is lost', () => checkRestore(stackOf))
  })
})
