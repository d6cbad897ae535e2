import { stat } from 'node:fs/promises'
import { limits } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { CheckBounds } from './check-bounds.ts'
import type { Checker } from './checker-pool.ts'
import { type NormalisedImage, normalisedImageSchema } from './checker-protocol.ts'

/** An image that passed. */
export type CheckedImage = NormalisedImage & {
  /** The normalised image: upright, sRGB, three channels of 8 bits, no metadata. */
  readonly path: string
}

/**
 * Checks an image by its content and normalises it. After an error, the caller removes what it wrote.
 *
 * @throws AppError INVALID_IMAGE_FORMAT, IMAGE_UNREADABLE or IMAGE_DIMENSIONS
 */
export async function checkImageFile(
  checker: Checker,
  { path, out, bounds }: { path: string; out: string; bounds: CheckBounds },
): Promise<CheckedImage> {
  const { size } = await stat(path)
  if (size === 0) throw new AppError('IMAGE_UNREADABLE', { details: { bytes: size } })
  const image = await checker.ask(
    {
      op: 'normaliseImage',
      path,
      out,
      bounds: {
        minSidePixels: limits.imageMinSidePixels,
        maxSidePixels: limits.imageMaxSidePixels,
        maxPixels: limits.imageMaxPixels,
        longestSidePixels: limits.imageUsedSidePixels,
        background: limits.imageBackground.colour,
      },
    },
    normalisedImageSchema,
    bounds.imageWallMs,
  )
  return { path: out, ...image }
}
