import { limits } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'

/** Throws IMAGE_TOO_LARGE, or returns. */
export function requireImageBytes(bytes: number): void {
  const maxBytes = limits.imageMaxBytes
  if (bytes > maxBytes)
    throw new AppError('IMAGE_TOO_LARGE', { details: { bytes, max_bytes: maxBytes } })
}

/** Throws AUDIO_TOO_LARGE, or returns. */
export function requireAudioBytes(bytes: number): void {
  const maxBytes = limits.audioMaxBytes
  if (bytes > maxBytes)
    throw new AppError('AUDIO_TOO_LARGE', { details: { bytes, max_bytes: maxBytes } })
}
