/** The pixels that an ICC profile describes, as ICC names them. */
export type ProfileSpace = 'GRAY' | 'RGB ' | 'CMYK'

/** Device links, abstract profiles and lists of named colours describe no picture. */
const pictureClasses = ['scnr', 'mntr', 'prtr', 'spac']

const headerBytes = 128

/** The profile if it can be that of pixels in this space. */
export function fittingProfile(
  profile: Buffer | undefined,
  space: ProfileSpace,
): Buffer | undefined {
  if (!profile || profile.length < headerBytes + 4) return undefined
  const text = (at: number) => profile.toString('latin1', at, at + 4)
  const isPicture = text(36) === 'acsp' && pictureClasses.includes(text(12))
  return isPicture && text(16) === space ? profile : undefined
}
