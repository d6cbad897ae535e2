import { createPrivateKey, X509Certificate } from 'node:crypto'
import { expect, it } from 'vitest'
import { selfSigned } from './self-signed.ts'

it('makes the same certificate from the same secret, and another one from another', () => {
  const made = selfSigned('s3', 'secret')
  expect(selfSigned('s3', 'secret')).toEqual(made)
  expect(selfSigned('s3', 'other').key).not.toBe(made.key)
})

it('makes one that others can read and that its own key has signed', () => {
  const { certificate, key } = selfSigned('s3', 'secret')
  const read = new X509Certificate(certificate)
  expect(read).toMatchObject({ subject: 'CN=s3', issuer: 'CN=s3' })
  expect(read.verify(read.publicKey)).toBe(true)
  expect(read.checkPrivateKey(createPrivateKey(key))).toBe(true)
  expect(read.validToDate.getUTCFullYear()).toBe(2100)
})
