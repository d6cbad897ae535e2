import { stat } from 'node:fs/promises'
import { limits } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { CheckBounds } from './check-bounds.ts'
import type { Checker } from './checker-pool.ts'
import { normalisedImageSchema } from './checker-protocol.ts'
import { requireImageBytes } from './file-sizes.ts'

/** What is known of an image that passed. */
export type CheckedImage = {
  /** The normalised image: upright, sRGB, three channels of 8 bits, no metadata. */
  readonly path: string
  readonly bytes: number
  readonly sha256: string
  readonly width: number
  readonly height: number
  /** Its format, which is that of the upload. */
  readonly extension: 'png' | 'jpg'
}

/** Larger portraits are scaled down to this: more than any delivered video shows. */
const longestSidePixels = 2_048

/**
 * Checks an image by its content and normalises it. Throws INVALID_IMAGE_FORMAT, IMAGE_UNREADABLE,
 * IMAGE_DIMENSIONS or IMAGE_TOO_LARGE. What it wrote before it threw is for the caller to remove.
 */
export async function checkImageFile(
  checker: Checker,
  { path, out, bounds }: { path: string; out: string; bounds: CheckBounds },
): Promise<CheckedImage> {
  const { size } = await stat(path)
  if (size === 0) throw new AppError('IMAGE_UNREADABLE', { details: { bytes: size } })
  requireImageBytes(size)
  const image = await checker.ask(
    {
      op: 'normaliseImage',
      path,
      out,
      bounds: {
        minSidePixels: limits.imageMinSidePixels,
        maxSidePixels: limits.imageMaxSidePixels,
        maxPixels: limits.imageMaxPixels,
        longestSidePixels,
      },
    },
    normalisedImageSchema,
    bounds.imageWallMs,
  )
  return { path: out, ...image }
}
