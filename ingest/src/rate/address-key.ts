import ipaddr from 'ipaddr.js'

/**
 * The key under which the failures of an address are counted: `ip-` and its bytes in hexadecimal. All of
 * an IPv6 network of 64 bits is one customer. What is no address, such as what a misconfigured proxy
 * writes, counts as one.
 */
export function addressKey(address: string | undefined): string {
  const text = withoutPort(address ?? '')
  if (!ipaddr.isValid(text)) return 'ip-unknown.auth'
  const parsed = ipaddr.process(text)
  const bytes = parsed.toByteArray().slice(0, parsed.kind() === 'ipv6' ? 8 : 4)
  return `ip-${Buffer.from(bytes).toString('hex')}.auth`
}

/** Some proxies write the port of the client behind its address. */
function withoutPort(address: string): string {
  const [, inBrackets, plain] = /^\[([^\]]+)\](?::\d+)?$|^([\d.]+):\d+$/.exec(address) ?? []
  return inBrackets ?? plain ?? address
}
