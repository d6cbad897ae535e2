import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { fileTypeFromBuffer } from 'file-type'
import sharp, { type Metadata } from 'sharp'
import type { ImageBounds, NormalisedImage } from './checker-protocol.ts'
import { MediumRefused } from './medium-refused.ts'

sharp.concurrency(1)
sharp.cache(false)
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: [
    'VipsForeignLoadPngBuffer',
    'VipsForeignLoadPngFile',
    'VipsForeignLoadJpegBuffer',
    'VipsForeignLoadJpegFile',
  ],
})

const allowedFormats = ['image/png', 'image/jpeg']

/**
 * Up to a megapixel deflate is left out: it takes twice the time of all the rest to save a fifth of
 * a photograph.
 */
const storedPixels = 2 ** 20

/**
 * Decodes an image to its last pixel and writes it anew: upright, on white, sRGB, 8 bits, three
 * channels, PNG, without metadata or anything that trailed it.
 *
 * Throws MediumRefused when the image is at fault, whatever `fs` throws when the disk is.
 */
export async function normaliseImage(request: {
  path: string
  out: string
  bounds: ImageBounds
}): Promise<NormalisedImage> {
  const { path, out, bounds } = request
  const original = await readFile(path)
  await requirePngOrJpeg(original)
  const { width, height } = await readHeader(original)
  requireDimensions(width, height, bounds)

  const { data, info } = await decode(original, width * height, bounds)
  await writeFile(out, data)
  const sha256 = createHash('sha256').update(data).digest('hex')
  return { bytes: data.length, sha256, width: info.width, height: info.height }
}

async function requirePngOrJpeg(original: Buffer): Promise<void> {
  const found = (await detectMime(original)) ?? 'unknown'
  if (!allowedFormats.includes(found)) {
    throw new MediumRefused('INVALID_IMAGE_FORMAT', { details: { found, allowed: allowedFormats } })
  }
}

/** A detector that stumbles over hostile bytes has found no image either. */
async function detectMime(original: Buffer): Promise<string | undefined> {
  try {
    return (await fileTypeFromBuffer(original))?.mime
  } catch {
    return undefined
  }
}

/** The header alone, however many pixels it claims: so that too many are told from unreadable ones. */
async function readHeader(original: Buffer): Promise<Metadata> {
  try {
    return await sharp(original, { limitInputPixels: false, failOn: 'error' }).metadata()
  } catch (cause) {
    throw new MediumRefused('IMAGE_UNREADABLE', { cause })
  }
}

function requireDimensions(width: number, height: number, bounds: ImageBounds): void {
  const { minSidePixels, maxSidePixels, maxPixels } = bounds
  const [shorter, longer] = [Math.min(width, height), Math.max(width, height)]
  if (shorter >= minSidePixels && longer <= maxSidePixels && width * height <= maxPixels) return
  throw new MediumRefused('IMAGE_DIMENSIONS', {
    details: { width, height, minSidePixels, maxSidePixels, maxPixels },
  })
}

async function decode(original: Buffer, pixels: number, bounds: ImageBounds) {
  const longest = bounds.longestSidePixels
  const compressionLevel = pixels <= storedPixels ? 0 : 1
  try {
    return await sharp(original, { limitInputPixels: bounds.maxPixels, failOn: 'error' })
      .autoOrient()
      .flatten({ background: '#ffffff' })
      .resize({ width: longest, height: longest, fit: 'inside', withoutEnlargement: true })
      .toColourspace('srgb')
      .png({ compressionLevel, adaptiveFiltering: false, palette: false })
      .toBuffer({ resolveWithObject: true })
  } catch (cause) {
    throw new MediumRefused('IMAGE_UNREADABLE', { cause })
  }
}
