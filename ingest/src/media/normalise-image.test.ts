import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { normaliseImage } from './normalise-image.ts'

const bounds = {
  ...{ minSidePixels: 10, maxSidePixels: 400, maxPixels: 90_000, longestSidePixels: 100 },
  background: '#ffffff',
}

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-image-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function normalise(image: Sharp | Buffer) {
  const [path, out] = [join(folder, 'in'), join(folder, 'out.png')]
  await writeFile(path, Buffer.isBuffer(image) ? image : await image.toBuffer())
  return { ...(await normaliseImage({ path, out, bounds })), file: await readFile(out) }
}

const plain = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: '#345' } })

it('decodes nothing but PNG and JPEG', async () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
  await expect(sharp(svg).metadata()).rejects.toThrow()
  await expect(sharp(await plain(20, 20).gif().toBuffer()).metadata()).rejects.toThrow()
  await expect(sharp(await plain(20, 20).png().toBuffer()).metadata()).resolves.toBeDefined()
})

it('accepts dimensions up to both ends of the bounds and no further', async () => {
  expect(await normalise(plain(10, 400).png())).toMatchObject({ width: 3, height: 100 })
  expect(await normalise(plain(300, 300).jpeg())).toMatchObject({ width: 100, height: 100 })
  for (const [width, height] of [
    [9, 100],
    [401, 100],
    [300, 301],
  ] as const) {
    await expect(normalise(plain(width, height).png())).rejects.toMatchObject({
      code: 'IMAGE_DIMENSIONS',
      details: { ...{ width, height }, max_pixels: 90_000 },
    })
  }
})

it('distinguishes an unreadable image from one of another format', async () => {
  const png = await plain(100, 100).png().toBuffer()
  await expect(normalise(png.subarray(0, -30))).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' })
  await expect(normalise(Buffer.from('text'))).rejects.toMatchObject({
    code: 'INVALID_IMAGE_FORMAT',
    details: { found: 'unknown', allowed: ['image/png', 'image/jpeg'] },
  })
})

it('deflates a PNG of more than a megapixel', async () => {
  const [path, out] = [join(folder, 'large'), join(folder, 'large.png')]
  const roomy = { ...bounds, maxSidePixels: 4_000, maxPixels: 4e6, longestSidePixels: 2_048 }
  await writeFile(path, await plain(1_200, 1_200).png().toBuffer())
  expect((await normaliseImage({ path, out, bounds: roomy })).bytes).toBeLessThan(100_000)
})
