/** Of the segments of a profile, how much each holds at most besides its head. */
const partBytes = 65_519

/**
 * For each of four blocks: a code, the mean of −1,024, and the code of the end; then ones. 0xFF is
 * followed by a zero.
 */
const scan = Buffer.from('3ff1ff008ffc7fef', 'hex')

/**
 * A CMYK JPEG of 8×8 pixels with all four inks in full. What it decodes to is the darkest colour that the
 * profile knows, or libvips' own without one.
 */
export function blackJpeg(profile: Buffer = Buffer.alloc(0)): Buffer {
  const count = Math.ceil(profile.length / partBytes)
  const parts = Array.from({ length: count }, (_, index) => {
    const part = profile.subarray(index * partBytes, (index + 1) * partBytes)
    const head = Buffer.from(`ICC_PROFILE\0${String.fromCharCode(index + 1, count)}`, 'latin1')
    return segment(0xe2, [...head, ...part])
  })
  const components = [1, 2, 3, 4]
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    // Adobe's marker, whose CMYK is inverted: 0 is all of an ink.
    segment(0xee, [...Buffer.from('Adobe'), 0, 100, 0, 0, 0, 0, 0]),
    ...parts,
    segment(0xdb, [0, ...Array(64).fill(1)]),
    segment(0xc0, [8, 0, 8, 0, 8, 4, ...components.flatMap((id) => [id, 0x11, 0])]),
    // One code of one bit each: a mean of 11 bits follows, and the block ends.
    segment(0xc4, [0x00, 1, ...Array(15).fill(0), 11]),
    segment(0xc4, [0x10, 1, ...Array(15).fill(0), 0]),
    segment(0xda, [4, ...components.flatMap((id) => [id, 0]), 0, 63, 0]),
    scan,
    Buffer.from([0xff, 0xd9]),
  ])
}

function segment(code: number, body: readonly number[]): Buffer {
  const length = body.length + 2
  return Buffer.from([0xff, code, length >> 8, length & 0xff, ...body])
}
