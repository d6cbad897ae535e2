import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { fileTypeFromBuffer } from 'file-type'
import sharp, { type Metadata, type Sharp } from 'sharp'
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

const allowedFormats = ['image/png', 'image/jpeg'] as const
type AllowedFormat = (typeof allowedFormats)[number]

/**
 * Up to a megapixel, a PNG is not deflated, and a JPEG does not get the second pass that optimises its
 * Huffman tables. They would save a fifth of a photograph and take more time than that is worth.
 */
const quickPixels = 2 ** 20

/**
 * A JPEG stays a JPEG: as a PNG it would be seven times as large on its way to the store and the
 * worker. At this quality, without chroma subsampling, the loss of a second encoding cannot be seen.
 */
const jpeg = { quality: 97, chromaSubsampling: '4:4:4' } as const

/**
 * Decodes an image to its last pixel and encodes it again: upright, on white, sRGB, three channels of
 * 8 bits, as PNG or JPEG like the original, without metadata or trailing bytes.
 *
 * @throws MediumRefused when the image is at fault; the error of `fs` when the disk is
 */
export async function normaliseImage(request: {
  path: string
  out: string
  bounds: ImageBounds
}): Promise<NormalisedImage> {
  const { path, out, bounds } = request
  const original = await readFile(path)
  const mime = await requirePngOrJpeg(original)
  const { width, height } = await readHeader(original)
  requireDimensions(width, height, bounds)

  const { data, info } = await encode(decoding(original, bounds), mime, width * height)
  await writeFile(out, data)
  const sha256 = createHash('sha256').update(data).digest('hex')
  const extension = mime === 'image/png' ? 'png' : 'jpg'
  return { bytes: data.length, sha256, width: info.width, height: info.height, extension }
}

async function requirePngOrJpeg(original: Buffer): Promise<AllowedFormat> {
  // The detector may throw on hostile bytes.
  const detected = await fileTypeFromBuffer(original).catch(() => undefined)
  const found = detected?.mime ?? 'unknown'
  const allowed = allowedFormats.find((mime) => mime === found)
  if (allowed) return allowed
  throw new MediumRefused('INVALID_IMAGE_FORMAT', { details: { found, allowed: allowedFormats } })
}

/** Reads the header alone, however many pixels it claims: an image that is too large is not unreadable. */
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
    details: {
      width,
      height,
      min_side_pixels: minSidePixels,
      max_side_pixels: maxSidePixels,
      max_pixels: maxPixels,
    },
  })
}

function decoding(original: Buffer, bounds: ImageBounds): Sharp {
  const longest = bounds.longestSidePixels
  return sharp(original, { limitInputPixels: bounds.maxPixels, failOn: 'error' })
    .autoOrient()
    .flatten({ background: '#ffffff' })
    .resize({ width: longest, height: longest, fit: 'inside', withoutEnlargement: true })
    .toColourspace('srgb')
}

async function encode(decoded: Sharp, mime: AllowedFormat, pixels: number) {
  const isQuick = pixels <= quickPixels
  const png = { compressionLevel: isQuick ? 0 : 1, adaptiveFiltering: false, palette: false }
  try {
    const encoded =
      mime === 'image/png' ? decoded.png(png) : decoded.jpeg({ ...jpeg, optimiseCoding: !isQuick })
    return await encoded.toBuffer({ resolveWithObject: true })
  } catch (cause) {
    throw new MediumRefused('IMAGE_UNREADABLE', { cause })
  }
}
