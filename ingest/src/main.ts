import { installLastWords, runService } from '@avatar/service-kit'
import { buildIngest } from './build-ingest.ts'
import { ingestConfigSchema } from './config.ts'

installLastWords('ingest')
await runService('ingest', ingestConfigSchema, process.env, buildIngest)
