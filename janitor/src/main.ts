import { installLastWords, runService } from '@avatar/service-kit'
import { buildJanitor } from './build-janitor.ts'
import { janitorConfigSchema } from './config.ts'

installLastWords('janitor')
await runService('janitor', janitorConfigSchema, process.env, buildJanitor)
