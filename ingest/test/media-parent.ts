import { createLog } from '@avatar/service-kit'
import { createMediaChecks } from '../src/media/media-checks.ts'

/** A service that holds warm checkers until it is killed: `node media-parent.ts FFMPEG TEMPDIR`. */
const [, , ffmpegPath = '', tempDir = ''] = process.argv
await createMediaChecks({ ffmpegPath, tempDir, log: createLog('test', 'silent') }).start()
process.stdout.write('ready\n')
