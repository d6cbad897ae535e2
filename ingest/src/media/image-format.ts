import { MediumRefused } from './medium-refused.ts'

/** A PNG or JPEG from its signature on. */
export type FoundPicture = { readonly format: 'png' | 'jpeg'; readonly bytes: Buffer }

const signatures = {
  png: Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
  jpeg: Buffer.from([0xff, 0xd8, 0xff]),
} as const

/** Some writers repeat the first marker of a JPEG, which decoders refuse. */
const doubledStart = Buffer.from([0xff, 0xd8, 0xff, 0xd8, 0xff])

/**
 * PNG and JPEG read as UTF-8 or Latin-1 and written as UTF-8, and PNG with other line ends. Bytes that
 * are no UTF-8 became U+FFFD.
 */
const mangledStart =
  /^(\xef\xbf\xbd){3}|^\xc3\xbf\xc3\x98\xc3\xbf|^(\x89|\xc2\x89|\xef\xbf\xbd)PNG[\r\n]/

/** How far behind other bytes a picture may begin: a newline, a byte-order mark, the head of a page. */
const searchedBytes = 8_192

const allowed = ['image/png', 'image/jpeg']

const exportIt = 'export it as PNG or JPEG'
const sendOneFrame = 'send one frame of it as PNG or JPEG'

/** What is sent in place of PNG and JPEG: what to call it, and the cure. */
const otherFormats: Readonly<Record<string, readonly [name: string, cure: string]>> = {
  'image/webp': ['a WebP picture', exportIt],
  'image/heic': ['a HEIC picture, as iPhones take them', exportIt],
  'image/heif': ['a HEIF picture', exportIt],
  'image/heic-sequence': ['a HEIC sequence', sendOneFrame],
  'image/heif-sequence': ['a HEIF sequence', sendOneFrame],
  'image/avif': ['an AVIF picture', exportIt],
  'image/gif': ['a GIF', exportIt],
  'image/tiff': ['a TIFF picture', exportIt],
  'image/bmp': ['a BMP picture', exportIt],
  'image/jxl': ['a JPEG XL picture', 'export it as PNG or classic JPEG'],
  'image/jp2': ['a JPEG 2000 picture', 'export it as PNG or classic JPEG'],
  'image/jls': ['a JPEG-LS picture', 'export it as PNG or classic JPEG'],
  'image/icns': ['an icon', exportIt],
  'image/x-icon': ['an icon', exportIt],
  'image/vnd.adobe.photoshop': ['a Photoshop document', exportIt],
  'image/svg+xml': ['an SVG drawing', 'render it to PNG'],
  'application/pdf': ['a PDF document', 'export its page as PNG or JPEG'],
  'application/zip': ['a ZIP archive', 'send the picture in it'],
  'text/html': ['a web page', 'send the picture itself, not the page that shows it'],
  'text/x-base64': ['base64 text', 'decode it and send the bytes'],
  'text/x-mangled': [
    'a picture whose bytes were changed as if they were text',
    'read and send it as binary',
  ],
}

/**
 * Finds the PNG or JPEG in an upload. Bytes in front of it are skipped, unless they are those of
 * another format, which may carry a small preview.
 *
 * @throws MediumRefused INVALID_IMAGE_FORMAT
 */
export async function findPicture(upload: Buffer): Promise<FoundPicture> {
  const first = pictureIn(upload, 0)
  if (first?.bytes === upload) return first
  // Few uploads need the detector, so that checkers start without it. It may throw on hostile bytes.
  const { fileTypeFromBuffer } = await import('file-type')
  const detected = await fileTypeFromBuffer(upload).catch(() => undefined)
  const mime = detected?.mime ?? 'unknown'
  const isOpen = ['unknown', 'application/xml', 'image/apng', ...allowed].includes(mime)
  const found = isOpen ? pictureIn(upload, searchedBytes) : undefined
  if (found) return found
  throw invalidFormat(isOpen ? (formatOfText(upload) ?? mime) : mime)
}

function pictureIn(upload: Buffer, farthest: number): FoundPicture | undefined {
  const head = upload.subarray(0, farthest + signatures.png.length)
  const candidates = (['png', 'jpeg'] as const)
    .map((format) => ({ format, at: head.indexOf(signatures[format]) }))
    .filter(({ at }) => at >= 0 && at <= farthest)
    .sort((a, b) => a.at - b.at)
  const [nearest] = candidates
  if (!nearest) return undefined
  const { format, at } = nearest
  const begin = upload.subarray(at, at + doubledStart.length).equals(doubledStart) ? at + 2 : at
  return { format, bytes: begin === 0 ? upload : upload.subarray(begin) }
}

function formatOfText(upload: Buffer): string | undefined {
  const head = upload.toString('latin1', 0, 1_024)
  if (/<svg[\s>]/i.test(head)) return 'image/svg+xml'
  if (/<(!doctype html|html|head|body)[\s>]/i.test(head)) return 'text/html'
  if (mangledStart.test(head)) return 'text/x-mangled'
  if (/^\s*(data:image\/|iVBORw0KGgo|\/9j\/)/.test(head)) return 'text/x-base64'
  return undefined
}

function invalidFormat(found: string): MediumRefused {
  const details = { found, allowed }
  if (found === 'unknown') return new MediumRefused('INVALID_IMAGE_FORMAT', { details })
  const [name, cure] = otherFormats[found] ?? nameOf(found)
  const message = `Image must be PNG or JPEG, and this is ${name}; ${cure}.`
  return new MediumRefused('INVALID_IMAGE_FORMAT', { details, message })
}

function nameOf(found: string): readonly [name: string, cure: string] {
  if (found.startsWith('video/')) return [`a video (${found})`, sendOneFrame]
  if (found.startsWith('audio/')) return [`a sound (${found})`, 'check the order of the files']
  return [found, exportIt]
}

/** @throws MediumRefused INVALID_IMAGE_FORMAT when a PNG holds more than one picture */
export function requireStill(pictures: number): void {
  if (pictures <= 1) return
  throw new MediumRefused('INVALID_IMAGE_FORMAT', {
    details: { found: 'image/apng', pictures, allowed },
    message: `Image must show one picture, and this PNG is an animation of ${pictures}; ${sendOneFrame}.`,
  })
}
