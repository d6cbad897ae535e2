import { avatarOf, type Deployment, type Step } from '../deployment.ts'

const keyName = 'release-smoke'

/** One job of the example, from outside, by a key that ends with it. */
export const smoke: Step = {
  name: 'smoke',
  async run(deployment) {
    const [key = ''] = (await avatarOf(deployment, ['keys', 'create', '--name', keyName])).split(
      '\n',
    )
    try {
      deployment.say(await deployment.smoke.renderOne(key))
    } finally {
      await revokeKeys(deployment)
    }
  },
}

/** Also those that an earlier run, which was cut off, has left. */
async function revokeKeys(deployment: Deployment) {
  const listed = await avatarOf(deployment, ['keys', 'list', '--json'])
  const { keys }: { keys: { id: string; name: string; revoked_at: string | null }[] } =
    JSON.parse(listed)
  for (const { id, name, revoked_at } of keys)
    if (name === keyName && revoked_at === null) await avatarOf(deployment, ['keys', 'revoke', id])
}
