import { expect, it } from 'vitest'
import { dataFolder } from '../stack/data-folder.ts'
import { prepareObservers } from './start-observers.ts'

const options = (env: Record<string, string>, lines: string[] = []) => ({
  ...{ data: dataFolder('/nowhere'), env, divisor: 1, mark: 'mark', isVerbose: false },
  takePort: async () => 1,
  write: (_: string, line: string) => lines.push(line),
  unpacked: '/nowhere',
})

it('says how to install what is missing, and goes on without it', async () => {
  const lines: string[] = []
  const observers = await prepareObservers(options({ PATH: '/nowhere' }, lines))
  await observers.start()
  await observers.stop()
  expect(observers.addresses).toEqual({})
  expect(lines).toEqual([expect.stringContaining('npm run setup -- --with monitoring')])
})

it('refuses a webhook that is no URL, whether or not there is anything to start', async () => {
  const refused = prepareObservers(options({ PATH: '/nowhere', OBSERVE_WEBHOOK_URL: 'pager' }))
  await expect(refused).rejects.toThrow('OBSERVE_WEBHOOK_URL is no URL: pager')
})
