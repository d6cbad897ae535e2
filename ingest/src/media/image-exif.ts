/** Tags of Exif 2.3: the tables that point to others, and what they say of colours. */
const tags = { exif: 0x8769, interoperability: 0xa005, index: 0x0001, colourSpace: 0xa001 }
const maxEntries = 512

/**
 * Whether the Exif data of a JPEG names Adobe RGB, as cameras do that write no ICC profile (DCF 2.0):
 * by the index R03, or by the colour space 2, which no standard knows. `tiff` begins with the byte order.
 */
export function namesAdobeRgb(tiff: Buffer): boolean {
  const isLittle = tiff.toString('latin1', 0, 2) === 'II'
  const short = (at: number) =>
    at + 2 > tiff.length ? 0 : isLittle ? tiff.readUInt16LE(at) : tiff.readUInt16BE(at)
  const long = (at: number) =>
    at + 4 > tiff.length ? 0 : isLittle ? tiff.readUInt32LE(at) : tiff.readUInt32BE(at)
  /** The position of a value; behind the data when there is none. */
  const find = (table: number, tag: number) => {
    const count = Math.min(short(table), maxEntries)
    for (let at = table + 2; at < table + 2 + 12 * count; at += 12)
      if (short(at) === tag) return at + 8
    return tiff.length
  }
  const exif = long(find(long(4), tags.exif))
  if (exif === 0) return false
  const index = find(long(find(exif, tags.interoperability)), tags.index)
  return (
    tiff.toString('latin1', index, index + 3) === 'R03' || short(find(exif, tags.colourSpace)) === 2
  )
}
