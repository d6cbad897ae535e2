import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Warning } from '@avatar/contracts'
import type { Sharp } from 'sharp'
import type { ImageBounds, NormalisedImage } from './checker-protocol.ts'
import { adobeRgb, pngColour } from './image-colour.ts'
import { findPicture, requireStill } from './image-format.ts'
import { type JpegFault, readJpeg } from './image-jpeg.ts'
import { type Encoded, srgbPixels, warnOfProfile } from './image-pixels.ts'
import { mendPng, type Png, readPng } from './image-png.ts'
import { fittingProfile } from './image-profile.ts'
import { MediumRefused } from './medium-refused.ts'

/** What was found out about a picture before its pixels are decoded. */
type Source = Encoded & {
  readonly extension: NormalisedImage['extension']
  readonly width: number
  readonly height: number
  readonly hasBrokenProfile: boolean
  readonly fault?: JpegFault | undefined
  readonly png?: Png
  readonly isRareJpeg?: boolean
}

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
 * 8 bits, as PNG or JPEG like the original, without metadata or trailing bytes. It reads and writes
 * synchronously: a checker has nothing else to do meanwhile.
 *
 * @throws MediumRefused when the image is at fault; the error of `fs` when the disk is
 */
export async function normaliseImage(request: {
  path: string
  out: string
  bounds: ImageBounds
}): Promise<NormalisedImage> {
  const { path, out, bounds } = request
  const { format, bytes } = await findPicture(readFileSync(path))
  const source = format === 'png' ? readPngSource(bytes) : readJpegSource(bytes, bounds)
  requireDimensions(source, bounds)
  if (source.fault) throw damaged(source.fault, source.height)

  const warnings: Warning[] = []
  const warn = (warning: Warning) => {
    if (!warnings.some(({ code }) => code === warning.code)) warnings.push(warning)
  }
  if (source.hasBrokenProfile) warnOfProfile(warn)
  const { data, info } = await decodeAndEncode(source, bounds, warn)
  writeFileSync(out, data)
  const sha256 = createHash('sha256').update(data).digest('hex')
  const { extension } = source
  return { bytes: data.length, sha256, width: info.width, height: info.height, extension, warnings }
}

function readPngSource(bytes: Buffer): Source {
  const png = readPng(bytes)
  if (!png) {
    // An iPhone app's own chunk stands in front of the header.
    if (bytes.toString('latin1', 12, 16) === 'CgBI') throw unreadable('Apple variant')
    throw new MediumRefused('IMAGE_UNREADABLE', { details: { problem: 'no header' } })
  }
  requireStill(png.pictures)
  const colour = pngColour(png.colour)
  const isProfiled = colour === undefined && png.colour.has('iCCP')
  const profile = isProfiled
    ? fittingProfile(png.profile, png.channels <= 2 ? 'GRAY' : 'RGB ')
    : undefined
  return {
    extension: 'png',
    ...{ width: png.width, height: png.height, picture: png.picture, profile },
    colour: colour === 'impossible' ? undefined : colour,
    hasBrokenProfile:
      colour === 'impossible' || png.brokenColour.length > 0 || (isProfiled && !profile),
    ...{ isCmyk: false, is16Bit: png.bitDepth === 16, isStrict: false },
    png,
  }
}

function readJpegSource(bytes: Buffer, bounds: ImageBounds): Source {
  const found = readJpeg(bytes, bounds.maxPixels)
  if (!found) throw new MediumRefused('IMAGE_UNREADABLE', { details: { problem: 'no header' } })
  const { width, height, channels, picture, fault } = found
  if (width === 0 || height === 0) throw unreadable('no size')
  const isCmyk = channels === 4
  const space = isCmyk ? 'CMYK' : channels === 1 ? 'GRAY' : 'RGB '
  const profile = fittingProfile(found.profile, space)
  return {
    extension: 'jpg',
    ...{ width, height, picture, fault, profile },
    colour: found.isAdobeRgb && !found.profile && channels === 3 ? adobeRgb : undefined,
    isRareJpeg: found.isRare,
    hasBrokenProfile: found.profile !== undefined && !profile,
    ...{ isCmyk, is16Bit: false, isStrict: !found.isFollowed },
  }
}

function requireDimensions({ width, height }: Source, bounds: ImageBounds): void {
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

function damaged({ problem, fromRow }: JpegFault, height: number): MediumRefused {
  if (problem === 'damaged') return unreadable(problem)
  return new MediumRefused('IMAGE_UNREADABLE', {
    details: { problem, rows: fromRow, height },
    message: `The image is cut off after ${fromRow} of its ${height} rows; send the whole file.`,
  })
}

const sentences = {
  damaged: 'The image is damaged and a part of its pixels is lost; send the original file again.',
  'no size': 'The image names no width or no height in its header; export it again.',
  'rare JPEG':
    'The image is a JPEG of a rare kind (12 bits, lossless or hierarchical), which browsers cannot show either; export it as an ordinary JPEG or as PNG.',
  'cut off': 'The image is cut off and its last rows are missing; send the whole file.',
  'Apple variant':
    'The image is a PNG in the variant of iPhone apps (CgBI), which nothing else reads; export it again.',
} as const

function unreadable(problem: keyof typeof sentences): MediumRefused {
  return new MediumRefused('IMAGE_UNREADABLE', named(problem))
}

function undecodable(source: Source, cause: unknown): MediumRefused {
  const problem = problemOf(source)
  return new MediumRefused('IMAGE_UNREADABLE', {
    ...(problem ? named(problem) : {}),
    ...{ cause, isOfDecoder: true },
  })
}

function named(problem: keyof typeof sentences) {
  return { message: sentences[problem], details: { problem } }
}

/** Why the decoder refuses a picture. Undefined when it is none that can be named. */
function problemOf({ png, isRareJpeg }: Source): keyof typeof sentences | undefined {
  if (!png) return isRareJpeg ? 'rare JPEG' : undefined
  if (png.chunks.some(({ name }) => name === 'CgBI')) return 'Apple variant'
  return png.isCutOff ? 'cut off' : 'damaged'
}

/** Decodes and encodes in one pass, for an image that needs no other. */
async function decodeAndEncode(
  source: Source,
  bounds: ImageBounds,
  warn: (warning: Warning) => void,
) {
  const isQuick = source.width * source.height <= quickPixels
  const encode = async (picture: Buffer) => {
    const decoded = await srgbPixels({ ...source, picture }, bounds, warn)
    return encoding(decoded, source.extension, isQuick).toBuffer({ resolveWithObject: true })
  }
  try {
    return await encode(source.picture)
  } catch (cause) {
    const mended = source.png && (await mendPng(source.png))
    if (!mended) throw undecodable(source, cause)
    return await encode(mended).catch((again: unknown) => {
      throw undecodable(source, again)
    })
  }
}

function encoding(decoded: Sharp, extension: Source['extension'], isQuick: boolean): Sharp {
  return extension === 'png'
    ? decoded.png({ compressionLevel: isQuick ? 0 : 1, adaptiveFiltering: false, palette: false })
    : decoded.jpeg({ ...jpeg, optimiseCoding: !isQuick })
}
