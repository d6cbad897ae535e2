import { expect, it } from 'vitest'
import type { Stack } from '../stack.ts'

/** Who reaches whom. */
export function checkReach(stackOf: () => Stack) {
  it('lets a worker reach the broker and S3 alone', async () => {
    const { project } = stackOf()
    const containers = await project.containers()
    const addresses = [...containers]
      .filter(([service]) => service !== 'sidecar')
      .flatMap(([service, { NetworkSettings }]) =>
        Object.values(NetworkSettings.Networks).map(({ IPAddress }) => [service, IPAddress]),
      )
      .filter(([, address]) => address)
    const open = await project.exec(
      'sidecar',
      'python',
      '-c',
      openPorts,
      JSON.stringify([...addresses, ['internet', '1.1.1.1'], ['internet', '8.8.8.8']]),
    )
    expect(JSON.parse(open)).toEqual(['nats:4222', 'nats:8443', 's3:18333', 's3:8333'])
    // S3's gRPC, by which keys could be made.
    expect(await project.exec('sidecar', 'python', '-c', withoutCertificate)).toMatch(
      /certificate required/i,
    )
  }, 240_000)

  it('publishes two ports, on loopback', async () => {
    const { project, ports } = stackOf()
    const { stdout } = await project.docker(
      ...[
        'ps',
        '--filter',
        `label=com.docker.compose.project=${project.name}`,
        '--format',
        '{{.Ports}}',
      ],
    )
    const published = [...stdout.matchAll(/(\S+:\d+)->/g)].map(([, address]) => address)
    const expected = [ports.api, ports.s3].map((port) => `127.0.0.1:${port}`)
    expect(published.toSorted()).toEqual(expected.toSorted())
  })
}

/** Prints which ports of the hosts answer, each host once by its name: all ports below 20,000. */
const openPorts = `
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def answer(host, port):
    with socket.socket() as door:
        door.settimeout(1)
        return door.connect_ex((host, port))
few = [22, 53, 80, 443, 4222, 6222, 8080, 8222, 8333, 8443, 8888, 9333, 9464, 18888, 19333]
# A network that drops what it does not carry would take a second for each port.
ports_of = lambda host: range(1, 20000) if answer(host, 1) == 111 else few
hosts = json.loads(sys.argv[1])
with ThreadPoolExecutor(64) as pool:
    ports = pool.map(ports_of, [host for _, host in hosts])
    doors = [(name, host, port) for (name, host), its in zip(hosts, ports) for port in its]
    answers = pool.map(lambda door: answer(door[1], door[2]), doors)
    found = {f"{name}:{port}" for (name, _, port), how in zip(doors, answers) if how == 0}
print(json.dumps(sorted(found)))
`

/** Prints how S3's gRPC port receives somebody without a certificate. */
const withoutCertificate = `
import socket, ssl
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
try:
    with context.wrap_socket(socket.create_connection(("s3", 18333), 5)) as door:
        door.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n")
        print("let in", door.recv(100))
except OSError as error:
    print(error)
`
