/** A message that a client publishes, as sent over the wire. */
export type Published = {
  subject: string
  /** The headers, if there are any, and the body. */
  payload: string
}

/** One protocol message of a client; `published` if it is a publish. */
export type Frame = { bytes: Buffer; published: Published | undefined }

const lineEnd = Buffer.from('\r\n')

/** Splits what a NATS client sends into whole frames. It understands only `PUB` and `HPUB`. */
export function createFrameReader(): (chunk: Buffer) => Frame[] {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    const frames: Frame[] = []
    for (;;) {
      const frame = firstFrame(rest)
      if (!frame) return frames
      frames.push(frame)
      rest = rest.subarray(frame.bytes.length)
    }
  }
}

function firstFrame(bytes: Buffer): Frame | undefined {
  const end = bytes.indexOf(lineEnd)
  if (end < 0) return undefined
  const afterLine = end + lineEnd.length
  const [verb, subject = '', ...sizes] = bytes
    .subarray(0, end)
    .toString()
    .split(/[ \t]+/)
  if (!verb || !/^H?PUB$/i.test(verb))
    return { bytes: bytes.subarray(0, afterLine), published: undefined }
  const afterPayload = afterLine + Number(sizes.at(-1))
  if (bytes.length < afterPayload + lineEnd.length) return undefined
  return {
    bytes: bytes.subarray(0, afterPayload + lineEnd.length),
    published: { subject, payload: bytes.subarray(afterLine, afterPayload).toString() },
  }
}
