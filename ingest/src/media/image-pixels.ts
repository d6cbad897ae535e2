import type { Warning } from '@avatar/contracts'
import sharp, { type OutputInfo, type Sharp } from 'sharp'
import type { ImageBounds } from './checker-protocol.ts'
import { blackJpeg } from './image-black-jpeg.ts'
import { type Colour, cmykToSrgb, compensateBlack, toSrgb } from './image-colour.ts'

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

/** A picture to decode, and how its colours are meant. */
export type Encoded = {
  readonly picture: Buffer
  readonly isCmyk: boolean
  readonly is16Bit: boolean
  /** The ICC profile, unless it is to be ignored. */
  readonly profile: Buffer | undefined
  /** The colours of a PNG that no profile describes; undefined for sRGB. */
  readonly colour: Colour | undefined
  /** Whether the decoder has to stop at the slightest fault. */
  readonly isStrict: boolean
}

const warnings = {
  profile: {
    code: 'IMAGE_COLOUR_PROFILE_IGNORED',
    message:
      'The colour profile of the image is damaged or made for another kind of picture. It was ignored and the colours were taken for sRGB. If they look wrong, export the image as sRGB.',
  },
  inks: {
    code: 'IMAGE_CMYK_WITHOUT_PROFILE',
    message:
      'The image is CMYK without a colour profile. It was converted as browsers do it, which may be off. Export the image as sRGB for exact colours.',
  },
  highlights: {
    code: 'IMAGE_HDR_COMPRESSED',
    message:
      'The image is HDR and in places brighter than a video can show. Its highlights were compressed. Export the image as sRGB to choose its brightness yourself.',
  },
} as const satisfies Record<string, Warning>

/**
 * What is left to be encoded: upright, opaque, sRGB with three channels of 8 bits, no larger than
 * the bounds. libvips does it all in one pass for sRGB and for most profiles. Computed here is what it
 * cannot do: HDR and the other colours that a PNG may have without a profile, CMYK without a profile,
 * and black-point compensation.
 *
 * @throws what sharp throws when a pixel cannot be decoded, here or when the result is read
 */
export async function srgbPixels(
  encoded: Encoded,
  bounds: ImageBounds,
  warn: (warning: Warning) => void,
): Promise<Sharp> {
  const { profile, colour, isCmyk, is16Bit } = encoded
  const { background } = bounds
  const decoded = decoding(encoded, bounds)
  // It says so and goes on when it cannot use a profile.
  if (profile)
    decoded.on(
      'warning',
      (text: unknown) => /profile/i.test(String(text)) && warn(warnings.profile),
    )
  if (colour) {
    const samples = is16Bit
      ? decoded.toColourspace('rgb16').raw({ depth: 'ushort' })
      : decoded.toColourspace('srgb').raw()
    const { data, info } = await samples.toBuffer({ resolveWithObject: true })
    const values = is16Bit ? new Uint16Array(Uint8Array.from(data).buffer) : data
    const { pixels, hasHighlights } = toSrgb(values, info.channels, colour)
    if (hasHighlights) warn(warnings.highlights)
    return fromRaw(pixels, info).flatten({ background })
  }
  if (isCmyk) return fromInks(encoded, bounds, warn)
  if (is16Bit && profile) {
    // sharp converts 16 bits by a profile to Display P3 and calls it sRGB.
    const narrow = await decoded.keepIccProfile().png({ compressionLevel: 0 }).toBuffer()
    return sharp(narrow).toColourspace('srgb').flatten({ background })
  }
  return decoded.flatten({ background })
}

/**
 * By its profile, or libvips' own where it has none, with black-point compensation. Inks that were
 * computed without any profile are recognised by the black ink, which replaces all of the others or
 * none, and converted without one.
 */
async function fromInks(
  encoded: Encoded,
  bounds: ImageBounds,
  warn: (warning: Warning) => void,
): Promise<Sharp> {
  const { profile } = encoded
  if (!profile) {
    warn(warnings.inks)
    const inks = decoding(encoded, bounds).pipelineColourspace('cmyk').toColourspace('cmyk').raw()
    const { data, info } = await inks.toBuffer({ resolveWithObject: true })
    if (!isSeparated(data)) return fromRaw(cmykToSrgb(data), { ...info, channels: 3 })
  }
  // Otherwise sharp would ask for the perceptual intent, which compresses the colours of print again.
  const colorimetric = (image: Sharp) => image.pipelineColourspace('cmyk').raw()
  const black = await colorimetric(sharp(blackJpeg(profile))).toBuffer()
  const pixels = colorimetric(decoding(encoded, bounds))
  const { data, info } = await pixels.toBuffer({ resolveWithObject: true })
  compensateBlack(data, [...black.subarray(0, 3)])
  return fromRaw(data, info)
}

/** Whether black ink is printed over the three others, as only the separation by a profile does it. */
function isSeparated(inks: Buffer): boolean {
  let both = 0
  for (let at = 0; at < inks.length; at += 4) {
    const [cyan, magenta] = [inks[at] ?? 0, inks[at + 1] ?? 0]
    const [yellow, black] = [inks[at + 2] ?? 0, inks[at + 3] ?? 0]
    if (Math.min(cyan, magenta, yellow, black) > 32) both++
  }
  return both > inks.length / 4 / 100
}

/** Warns that the description of the colours makes no sense. */
export function warnOfProfile(warn: (warning: Warning) => void): void {
  warn(warnings.profile)
}

function decoding({ picture, profile, isCmyk, isStrict }: Encoded, bounds: ImageBounds): Sharp {
  const { longestSidePixels: longest, maxPixels } = bounds
  const options = { limitInputPixels: maxPixels, failOn: isStrict ? 'warning' : 'error' } as const
  return sharp(picture, { ...options, ignoreIcc: !profile && !isCmyk })
    .autoOrient()
    .resize({ width: longest, height: longest, fit: 'inside', withoutEnlargement: true })
    .toColourspace('srgb')
}

function fromRaw(pixels: Buffer, { width, height, channels }: OutputInfo): Sharp {
  return sharp(pixels, { raw: { width, height, channels } })
}
