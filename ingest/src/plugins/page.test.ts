import { fastify } from 'fastify'
import { expect, it } from 'vitest'
import type { AppDeps } from '../app-deps.ts'
import { usePage } from './page.ts'

const deps = {
  config: { PUBLIC_PATH_PREFIX: '/avatar' },
  objects: { publicOrigin: 'https://media.example' },
} as AppDeps // The page needs nothing else.

async function aPage() {
  const app = fastify({ rewriteUrl: ({ url = '' }) => url.replace(/^\/avatar/, '') || '/' })
  await usePage(app, deps)
  return app
}

it('runs only its own files, and plays videos from the store', async () => {
  const app = await aPage()
  const { statusCode, headers, body } = await app.inject('/avatar/')
  expect(statusCode).toBe(200)
  expect(headers['content-type']).toBe('text/html; charset=utf-8')
  const policy = String(headers['content-security-policy'])
  expect(policy).toContain("default-src 'none'")
  expect(policy).toContain('media-src blob: https://media.example')
  expect(policy).not.toContain('unsafe')
  expect(body).not.toMatch(/<script>|<style>| style=| on[a-z]+=/)
  const files = [...body.matchAll(/(?:src|href)="(page\/[^"]+)"/g)].map(([, file]) => file)
  expect(files).toEqual(['page/icon.svg', 'page/page.css', 'page/page.js'])
  for (const file of files) expect((await app.inject(`/avatar/${file}`)).statusCode).toBe(200)
})

it('redirects the bare prefix, because its paths are relative', async () => {
  const { statusCode, headers } = await (await aPage()).inject('/avatar')
  expect([statusCode, headers.location]).toEqual([302, '/avatar/'])
})
