import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { AppDeps } from '../app-deps.ts'

const folder = join(import.meta.dirname, '../../page')

/** The page's files by their path, with their media types. */
const files = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page/page.css': ['page.css', 'text/css; charset=utf-8'],
  '/page/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/page/icon.svg': ['icon.svg', 'image/svg+xml'],
} as const

/**
 * Serves the page at `/`, without a key: a form that submits a job and follows it to its video. The
 * page plays videos from the store, as clients reach it.
 */
export async function usePage(app: FastifyInstance, { config, objects }: AppDeps) {
  const { PUBLIC_PATH_PREFIX: prefix } = config
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' blob:",
    `media-src blob: ${objects.publicOrigin}`,
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  for (const [path, [file, type]] of Object.entries(files)) {
    const content = await readFile(join(folder, file))
    const options = { config: { isPublic: true }, schema: { hide: true } }
    app.get(path, options, async ({ originalUrl }, reply) => {
      // Relative paths on the page need the slash at the end.
      const [pathname, ...query] = originalUrl.split(/(?=\?)/)
      if (prefix && pathname === prefix) return reply.redirect(`${prefix}/${query.join('')}`)
      return (
        reply
          .header('content-security-policy', policy)
          .header('referrer-policy', 'no-referrer')
          // The files change with the server, never without it.
          .header('cache-control', 'no-cache')
          .type(type)
          .send(content)
      )
    })
  }
}
