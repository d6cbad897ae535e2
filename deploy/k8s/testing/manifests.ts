import { resolve } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { runTool } from '../../testing/python-tools.ts'

export const overlays = ['preview', 'keda', 'runpod'] as const
export type Overlay = (typeof overlays)[number]

type Probe = { exec?: { command: string[] }; httpGet?: { path: string; port: string } }
export type Container = {
  name: string
  image: string
  env?: { name: string; value?: string }[]
  envFrom?: { configMapRef: { name: string } }[]
  securityContext?: unknown
  resources: { requests: Record<string, string>; limits: Record<string, string | number> }
  volumeMounts: { name: string; mountPath: string }[]
  startupProbe?: Probe
  readinessProbe?: Probe
  livenessProbe?: Probe
}
export type PodTemplate = {
  metadata: { labels: Record<string, string> }
  spec: Record<string, unknown> & {
    containers: Container[]
    volumes: { name: string; secret?: { secretName: string } }[]
    terminationGracePeriodSeconds?: number
  }
}
/** A manifest, as far as the tests look at it. */
export type Manifest = {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string }
  data?: Record<string, string>
  // biome-ignore lint/suspicious/noExplicitAny: each kind has another, and kubernetes-validate knows them.
  spec?: any
}

/** What `kubectl apply -k` would send. */
export async function render(overlay: Overlay): Promise<{ yaml: string; manifests: Manifest[] }> {
  const folder = resolve(import.meta.dirname, '../overlays', overlay)
  const { isContent, output } = await runTool('kubectl', ['kustomize', folder])
  if (!isContent) throw new Error(output)
  return { yaml: output, manifests: parseAllDocuments(output).map((document) => document.toJS()) }
}

/** The pods of an overlay, by `Kind/name` of what makes them. */
export function podsOf(manifests: readonly Manifest[]): [who: string, pod: PodTemplate][] {
  return manifests.flatMap(({ kind, metadata, spec }) => {
    const template = spec?.template ?? spec?.jobTargetRef?.template
    return template ? [[`${kind}/${metadata.name}`, template]] : []
  })
}
