import type { Clock } from '@avatar/service-kit'

/** A terminal and npm both pass one Ctrl-C on; copies within this time are the same wish. */
const sameSignalMs = 1_000

const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Where signals come from: the process, or a test. */
export type SignalSource = {
  on(signal: NodeJS.Signals, hear: () => void): unknown
  removeListener(signal: NodeJS.Signals, hear: () => void): unknown
}

/** What the user wants: nothing, an end in order, or an end at once. */
export type StopWish = {
  /** Aborted by the first signal. */
  readonly made: AbortSignal
  /** Aborted by a signal that comes clearly later than the first. */
  readonly insisted: AbortSignal
  /** From here on signals do again what they do by default. */
  forget(): void
}

/** Hears the wish to stop: the first Ctrl-C (or SIGTERM, SIGHUP) asks, a later one insists. */
export function hearStopWish(signals: SignalSource, clock: Clock): StopWish {
  const made = new AbortController()
  const insisted = new AbortController()
  let firstAtMs: number | undefined
  const onSignal = () => {
    firstAtMs ??= clock.monotonicMs()
    made.abort()
    if (clock.monotonicMs() - firstAtMs > sameSignalMs) insisted.abort()
  }
  for (const signal of stopSignals) signals.on(signal, onSignal)
  return {
    made: made.signal,
    insisted: insisted.signal,
    forget() {
      for (const signal of stopSignals) signals.removeListener(signal, onSignal)
    },
  }
}

/** Resolves when the signal is aborted, or was. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
