import { dataFolder } from '../../cli/src/stack/data-folder.ts'
import { programs } from '../../cli/src/stack/programs.ts'

type Wiring = Parameters<typeof programs>[0]

/**
 * Those of the variables that `avatar up` sets for at least one process, whatever the environment
 * says. Nothing is started: only what each program would get is compared with what was given.
 */
export function setByAvatarUp(names: readonly string[]): string[] {
  const given: Record<string, string> = Object.fromEntries(names.map((name) => [name, '8080']))
  const stack = programs({
    data: dataFolder('.avatar'),
    env: given,
    // What `avatar up` takes from FFMPEG_PATH and HTTP_PORT.
    ffmpeg: '8080',
    ports: { http: 8080 } as Wiring['ports'], // Ports and credentials that it makes are left out:
    credentials: { nats: {}, s3: {} } as Wiring['credentials'], // they differ from what was given.
    mark: '',
  })
  return names.filter((name) =>
    Object.values(stack).some(({ env }) => name in env && env[name] !== given[name]),
  )
}
