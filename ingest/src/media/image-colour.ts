import { bt709, d65, type Primaries, toLinearSrgb, toXyz } from './image-colour-matrices.ts'

/** From a signal of 0 to 1 to linear light, where white paper is 1. */
type Curve = (signal: number) => number

/** A colour space of RGB samples, as far as ICC does not describe it. */
export type Colour = {
  readonly primaries: Primaries
  readonly curve: Curve
  /** HDR: the light may exceed that of white paper. */
  readonly isHdr: boolean
  /** The samples of black and white, where those of full scale are 0 and 1. */
  readonly range: readonly [black: number, white: number]
}

const bt601 = [[0.63, 0.34], [0.31, 0.595], [0.155, 0.07], d65] as const

/** The codes of ITU-T H.273, table 2. */
const primariesByCode: Readonly<Record<number, Primaries>> = {
  1: bt709,
  4: [
    [0.67, 0.33],
    [0.21, 0.71],
    [0.14, 0.08],
    [0.31, 0.316],
  ],
  5: [[0.64, 0.33], [0.29, 0.6], [0.15, 0.06], d65],
  6: bt601,
  7: bt601,
  9: [[0.708, 0.292], [0.17, 0.797], [0.131, 0.046], d65],
  11: [
    [0.68, 0.32],
    [0.265, 0.69],
    [0.15, 0.06],
    [0.314, 0.351],
  ],
  12: [[0.68, 0.32], [0.265, 0.69], [0.15, 0.06], d65],
  22: [[0.63, 0.34], [0.295, 0.605], [0.155, 0.077], d65],
}

/** White paper is at 203 cd/m², of the 10,000 of PQ and the 1,000 of HLG (ITU-R BT.2408). */
const paperWhite = 203
/** The exponent from the light of the scene to that of a display of 1,000 cd/m² (ITU-R BT.2100). */
const hlgSystemGamma = 1.2

const camera: Curve = (v) => (v < 0.081 ? v / 4.5 : ((v + 0.099) / 1.099) ** (1 / 0.45))
const srgb: Curve = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
const pq: Curve = (v) => {
  const p = v ** (1 / 78.84375)
  const y = Math.max(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)
  return (y ** (1 / 0.1593017578125) * 10_000) / paperWhite
}
/** Up to the light of the scene. The rest depends on all three colours together. */
const hlg: Curve = (v) =>
  v <= 0.5 ? v ** 2 / 3 : (Math.exp((v - 0.55991073) / 0.17883277) + 0.28466892) / 12

/** Of cameras that write no profile (DCF 2.0). */
export const adobeRgb: Colour = {
  primaries: [[0.64, 0.33], [0.21, 0.71], [0.15, 0.06], d65],
  curve: (v) => v ** (563 / 256),
  isHdr: false,
  range: [0, 1],
}

/** The codes of ITU-T H.273, table 3. */
const curveByCode: Readonly<Record<number, Curve>> = {
  ...{ 1: camera, 6: camera, 14: camera, 15: camera },
  ...{ 4: (v: number) => v ** 2.2, 5: (v: number) => v ** 2.8, 8: (v: number) => v },
  ...{ 13: srgb, 16: pq, 18: hlg },
}

/** A file gamma this near to 1/2.2 means sRGB, whose curve has no single exponent. */
const srgbGamma = { value: 1 / 2.2, tolerance: 0.02 }
/** How far chromaticities are off at most that were rounded, or measured a bit differently. */
const sameChromaticity = 0.005

/**
 * The colours that the chunks of a PNG describe: `cICP` before `iCCP` before `sRGB` before `gAMA` and
 * `cHRM`. Undefined when they are those of sRGB or of the ICC profile; `impossible` when they make no
 * sense.
 */
export function pngColour(chunks: ReadonlyMap<string, Buffer>): Colour | undefined | 'impossible' {
  const coding = chunks.get('cICP')
  if (coding) return codedColour(coding)
  if (chunks.has('iCCP') || chunks.has('sRGB')) return undefined
  const [gamma, chromaticities] = [chunks.get('gAMA'), chunks.get('cHRM')]
  const exponent = gamma && gamma.length >= 4 ? gamma.readUInt32BE(0) / 100_000 : undefined
  const primaries = chromaticities ? chromaticitiesOf(chromaticities) : bt709
  if (!primaries || (exponent !== undefined && (exponent < 0.1 || exponent > 10)))
    return 'impossible'
  const hasSrgbGamma =
    exponent === undefined || Math.abs(exponent - srgbGamma.value) <= srgbGamma.tolerance
  const hasSrgbPrimaries = primaries.every(([x, y], index) => {
    const [sameX, sameY] = bt709[index] ?? d65
    return Math.max(Math.abs(x - sameX), Math.abs(y - sameY)) <= sameChromaticity
  })
  if (hasSrgbGamma && hasSrgbPrimaries) return undefined
  const curve: Curve = exponent === undefined ? srgb : (v) => v ** (1 / exponent)
  return { primaries, curve, isHdr: false, range: [0, 1] }
}

function codedColour(coding: Buffer): Colour | undefined | 'impossible' {
  const [primariesCode = 0, curveCode = 0, matrixCode, isFullRange] = coding
  const primaries = primariesByCode[primariesCode]
  const curve = curveByCode[curveCode]
  if (!primaries || !curve || matrixCode !== 0) return 'impossible'
  if (primaries === bt709 && curve === srgb && isFullRange) return undefined
  const range = isFullRange ? ([0, 1] as const) : ([16 / 255, 235 / 255] as const)
  return { primaries, curve, isHdr: curve === pq || curve === hlg, range }
}

/** White comes first. They must span a triangle around it. */
function chromaticitiesOf(chunk: Buffer): Primaries | undefined {
  if (chunk.length < 32) return undefined
  const [white, ...colours] = [0, 8, 16, 24].map(
    (at) => [chunk.readUInt32BE(at) / 1e5, chunk.readUInt32BE(at + 4) / 1e5] as const,
  )
  if (!white) return undefined
  const primaries = [...colours, white]
  if (primaries.some(([x, y]) => x > 1.5 || y > 1.5 || y < 1e-3)) return undefined
  const isSpanned = toXyz(primaries).every((row) => row.every(Number.isFinite))
  return isSpanned ? primaries : undefined
}

/**
 * Converts interleaved pixels, whose first three samples are red, green and blue, to bytes of sRGB; an
 * alpha sample behind them keeps its value. What is brighter than white paper is compressed, so that
 * highlights keep their form: `hasHighlights` tells whether anything was.
 */
export function toSrgb(
  samples: Uint8Array | Uint16Array,
  channels: number,
  colour: Colour,
): { pixels: Buffer; hasHighlights: boolean } {
  const full = samples instanceof Uint16Array ? 0xffff : 0xff
  const light = lightOf(full, colour)
  const gainOf = displayGain(colour)
  const peak = colour.isHdr ? brightest(samples, channels, light, gainOf) : 1
  const [toRed, toGreen, toBlue] = toLinearSrgb(colour.primaries)
  const encode = encoder()
  const pixels = Buffer.allocUnsafe(samples.length)
  for (let at = 0; at < samples.length; at += channels) {
    let red = light[samples[at] ?? 0] ?? 0
    let green = light[samples[at + 1] ?? 0] ?? 0
    let blue = light[samples[at + 2] ?? 0] ?? 0
    if (gainOf) {
      const gain = gainOf(red, green, blue)
      const scale = gain * compression(gain * Math.max(red, green, blue), peak)
      red *= scale
      green *= scale
      blue *= scale
    }
    pixels[at] = encode(toRed[0] * red + toRed[1] * green + toRed[2] * blue)
    pixels[at + 1] = encode(toGreen[0] * red + toGreen[1] * green + toGreen[2] * blue)
    pixels[at + 2] = encode(toBlue[0] * red + toBlue[1] * green + toBlue[2] * blue)
    if (channels === 4) pixels[at + 3] = Math.round(((samples[at + 3] ?? 0) * 255) / full)
  }
  return { pixels, hasHighlights: peak > 1 }
}

/** CMYK without a profile: each ink takes away its share of the light, as browsers have it. */
export function cmykToSrgb(inks: Uint8Array): Buffer {
  const pixels = Buffer.allocUnsafe((inks.length / 4) * 3)
  for (let from = 0, to = 0; from < inks.length; from += 4, to += 3) {
    const light = 255 - (inks[from + 3] ?? 0)
    pixels[to] = ((255 - (inks[from] ?? 0)) * light) / 255 + 0.5
    pixels[to + 1] = ((255 - (inks[from + 1] ?? 0)) * light) / 255 + 0.5
    pixels[to + 2] = ((255 - (inks[from + 2] ?? 0)) * light) / 255 + 0.5
  }
  return pixels
}

/**
 * Black-point compensation, in place: all light is scaled so that `black`, the darkest colour of the
 * original's profile, becomes black. Without it, everything that is printed looks foggy on a display.
 */
export function compensateBlack(pixels: Buffer, black: readonly number[]): void {
  const [red = 0, green = 0, blue = 0] = black.map((sample) => srgb(sample / 255))
  const darkest = 0.2126 * red + 0.7152 * green + 0.0722 * blue
  const encode = encoder()
  const table = Uint8Array.from({ length: 256 }, (_, sample) =>
    encode((srgb(sample / 255) - darkest) / (1 - darkest)),
  )
  for (let at = 0; at < pixels.length; at++) pixels[at] = table[pixels[at] ?? 0] ?? 0
}

/** The light of each sample from 0 to `full`. */
function lightOf(full: number, { curve, range: [black, white] }: Colour): Float32Array {
  return Float32Array.from({ length: full + 1 }, (_, sample) => {
    const signal = (sample / full - black) / (white - black)
    return curve(Math.min(Math.max(signal, 0), 1))
  })
}

type Gain = (red: number, green: number, blue: number) => number

/** What an HDR display multiplies the light of a pixel with; undefined for SDR. */
function displayGain({ isHdr, curve, primaries }: Colour): Gain | undefined {
  if (!isHdr) return undefined
  if (curve !== hlg) return () => 1
  const [toRed, toGreen, toBlue] = toXyz(primaries)[1]
  const display = 1_000 / paperWhite
  return (red, green, blue) =>
    display * (toRed * red + toGreen * green + toBlue * blue) ** (hlgSystemGamma - 1)
}

/** The light that a thousandth of the pixels exceeds, at least 1. */
function brightest(
  samples: Uint8Array | Uint16Array,
  channels: number,
  light: Float32Array,
  gainOf: Gain | undefined,
): number {
  const bins = new Uint32Array(4_096)
  const scale = Math.sqrt(paperWhite / 10_000) * (bins.length - 1)
  for (let at = 0; at < samples.length; at += channels) {
    const red = light[samples[at] ?? 0] ?? 0
    const green = light[samples[at + 1] ?? 0] ?? 0
    const blue = light[samples[at + 2] ?? 0] ?? 0
    const gain = gainOf?.(red, green, blue) ?? 1
    const bin = Math.round(Math.sqrt(gain * Math.max(red, green, blue)) * scale)
    bins[bin] = (bins[bin] ?? 0) + 1
  }
  let bin = bins.length - 1
  for (let above = 0; bin > 0; bin--) {
    above += bins[bin] ?? 0
    if (above * 1_000 * channels >= samples.length) break
  }
  const peak = (bin / scale) ** 2
  // Rounding of the bins and of white itself.
  return peak > 1.02 ? peak : 1
}

/** The light from which on highlights are compressed. */
const knee = 0.5

/** Reinhard's curve from the knee to the peak, which becomes white. */
function compression(light: number, peak: number): number {
  if (peak === 1 || light <= knee) return 1
  const [above, most] = [(light - knee) / (1 - knee), (peak - knee) / (1 - knee)]
  return (knee + ((1 - knee) * above * (1 + above / most ** 2)) / (1 + above)) / light
}

const encoded = new Uint8Array(0x1_0000)

/** From linear light to a byte of sRGB. */
function encoder(): (light: number) => number {
  const last = encoded.length - 1
  if (encoded[last] === 0) {
    for (let at = 0; at <= last; at++) {
      const light = at / last
      const signal = light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055
      encoded[at] = Math.round(255 * signal)
    }
  }
  return (light) => (light <= 0 ? 0 : light >= 1 ? 255 : (encoded[Math.round(light * last)] ?? 0))
}
