import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { limits } from '@avatar/contracts'
import sharp from 'sharp'
import { normaliseImage } from '../src/media/normalise-image.ts'

export const portrait = await readFile(join(import.meta.dirname, '../../examples/portrait.jpg'))

const bounds = {
  minSidePixels: limits.imageMinSidePixels,
  maxSidePixels: limits.imageMaxSidePixels,
  maxPixels: limits.imageMaxPixels,
  longestSidePixels: limits.imageUsedSidePixels,
  background: limits.imageBackground.colour,
}

/** Normalises an image in this process. Returns its pixels and its warnings. */
export async function normalised(image: Buffer) {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-image-'))
  try {
    const [path, out] = [join(folder, 'in'), join(folder, 'out')]
    await writeFile(path, image)
    const { warnings } = await normaliseImage({ path, out, bounds })
    const pixels = await pixelsOf(await readFile(out))
    return { pixels, warnings: warnings.map(({ code }) => code) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Red, green and blue of each pixel. */
export function pixelsOf(image: Buffer): Promise<Buffer> {
  return sharp(image).toColourspace('srgb').removeAlpha().raw().toBuffer()
}
