import { createHmac, createPrivateKey, createPublicKey, sign } from 'node:crypto'

/** PKCS #8 and its algorithm around an Ed25519 key of 32 bytes. */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const ed25519 = Buffer.from('300506032b6570', 'hex')
const commonName = Buffer.from('0603550403', 'hex')
const tags = { integer: 0x02, bits: 0x03, text: 0x0c, utcTime: 0x17, time: 0x18 } as const
const sequence = 0x30
const set = 0x31

/**
 * A certificate that signs itself, with its key, as PEM: the same ones from the same secret. A server that
 * takes it as its authority lets in nobody but the holders of this key. Ed25519, because its signatures
 * do not differ from time to time.
 */
export function selfSigned(name: string, secret: string): { certificate: string; key: string } {
  const seed = createHmac('sha256', secret).update(`certificate of ${name}`).digest()
  const key = createPrivateKey({
    key: Buffer.concat([pkcs8Prefix, seed]),
    format: 'der',
    type: 'pkcs8',
  })
  const called = der(sequence, der(set, der(sequence, commonName, der(tags.text, name))))
  const content = der(
    sequence,
    der(tags.integer, Buffer.of(1)),
    ed25519,
    called,
    // To renew it would need a restart of whoever reads it, and it protects no secret for longer.
    der(sequence, der(tags.utcTime, '260101000000Z'), der(tags.time, '21000101000000Z')),
    called,
    createPublicKey(key).export({ format: 'der', type: 'spki' }),
  )
  const signature = der(tags.bits, Buffer.of(0), sign(null, content, key))
  return {
    certificate: pem('CERTIFICATE', der(sequence, content, ed25519, signature)),
    key: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}

/** One value in DER; none here is longer than 65,535 bytes. */
function der(tag: number, ...parts: readonly (Buffer | string)[]): Buffer {
  const content = Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)),
  )
  const size = content.length
  // The shortest form is the only valid one.
  const length =
    size < 0x80
      ? Buffer.of(size)
      : size < 0x100
        ? Buffer.of(0x81, size)
        : Buffer.of(0x82, size >> 8, size & 0xff)
  return Buffer.concat([Buffer.of(tag), length, content])
}

function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? []
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}
