import { installLastWords, runService } from '@avatar/service-kit'
import { buildOrchestrator } from './build-orchestrator.ts'
import { orchestratorConfigSchema } from './config.ts'

installLastWords('orchestrator')
await runService('orchestrator', orchestratorConfigSchema, process.env, buildOrchestrator)
