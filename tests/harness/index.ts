export { processNames } from '@avatar/contracts'
export {
  mountSmallDisk,
  pick,
  type SmallDisk,
  seededRandom,
  until,
} from '@avatar/service-kit/testing'
export { startAnotherWorker, suspend } from './another-worker.ts'
export { cancelMany, holdWorkers, submitMany } from './backlog.ts'
export { createBalancedClient, type StreamedFact, uploadSlowly } from './balanced-client.ts'
export { startBrokerAlone } from './broker-alone.ts'
export { cancelAtRandom } from './cancel-at-random.ts'
export { killAtRandom } from './chaos.ts'
export { findChromium } from './chromium.ts'
export { clocksAhead } from './clock-ahead.ts'
export { expectAllCompletedOnce, expectCompletedOnce } from './exactly-once.ts'
export { writeFakeDocker } from './fake-docker.ts'
export { film } from './film.ts'
export { followProgress } from './follow-events.ts'
export {
  deletionPoints,
  ingestPoints,
  janitorPoints,
  killAt,
  orchestratorPoints,
  workerPoints,
} from './kill-points.ts'
export { serveMadeMetrics } from './made-metrics.ts'
export { portrait, voice, wavHeaderBytes, wavOf } from './media.ts'
export { askPrometheus, hasMonitoring, startAlertWebhook } from './monitoring.ts'
export type { Cut } from './nats-proxy.ts'
export {
  drawTree,
  type OtlpReceiver,
  type ReceivedSpan,
  type SpanTree,
  startOtlpReceiver,
} from './otlp-receiver.ts'
export { childrenOf, isAlive, processesOf } from './processes.ts'
export { findPrometheus, type Prometheus, startPrometheus } from './prometheus.ts'
export { openPublisher, runExamplePublisher } from './publisher.ts'
export { keepRawOutput, type RawOutput } from './raw-output.ts'
export { rendersOf } from './renders.ts'
export { type Client, createClient, type SubmitOptions, type Submitted } from './rest-client.ts'
export { runAgain } from './run-again.ts'
export {
  hasRunPodSdk,
  portForRunPod,
  type RunPodWorkers,
  runPodPool,
  runPodSettings,
  startRunPodWorkers,
  watchRunPodWorkers,
} from './runpod/runpod-workers.ts'
export { type FakeRunPod, startFakeRunPod } from './runpod/start-fake-runpod.ts'
export { metricsUrl, type Series, scrape } from './scrape.ts'
export { type SubmitAnswer, submitSteadily } from './steady-submits.ts'
export {
  patientOrchestrator,
  type System,
  type SystemOptions,
  startSystem,
  type Victim,
} from './system.ts'
export {
  breakTinyWeights,
  hasEnginePackages,
  prepareTinyWeights,
  tinyEngine,
} from './tiny-weights.ts'
export { within } from './within.ts'
