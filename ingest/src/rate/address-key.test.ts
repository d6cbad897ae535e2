import { describe, expect, it } from 'vitest'
import { addressKey } from './address-key.ts'

describe('the key of an address', () => {
  it.each([
    ['192.0.2.7', 'ip-c0000207.auth'],
    ['::ffff:192.0.2.7', 'ip-c0000207.auth'],
    ['192.0.2.7:51324', 'ip-c0000207.auth'],
    ['2001:db8:1:2:3:4:5:6', 'ip-20010db800010002.auth'],
    ['[2001:db8:1:2::9]:443', 'ip-20010db800010002.auth'],
    ['2001:db8:1:2:ffff::', 'ip-20010db800010002.auth'],
    ['fe80::1%eth0', 'ip-fe80000000000000.auth'],
    ['unknown', 'ip-unknown.auth'],
    ['*.>', 'ip-unknown.auth'],
    [undefined, 'ip-unknown.auth'],
  ])('%s is %s', (address, key) => {
    expect(addressKey(address)).toBe(key)
  })
})
