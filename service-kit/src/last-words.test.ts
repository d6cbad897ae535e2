import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { logLineSchema } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'

const module = join(import.meta.dirname, 'index.ts')
const value = 'marked-secret-value'

/** Runs a program that has installed its last words, and returns what left it. */
async function run(program: string) {
  const source = `
    import { installLastWords, Secret } from ${JSON.stringify(module)}
    installLastWords('test')
    new Secret(${JSON.stringify(value)})
    ${program}`
  const args = ['--input-type=module', '-e', source]
  return new Promise<{ code: unknown; lines: unknown[]; text: string }>((done) => {
    execFile(process.execPath, args, (error, stdout, stderr) => {
      const text = stdout + stderr
      const lines = text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
      done({ code: error?.code ?? 0, lines: lines.map((line) => logLineSchema.parse(line)), text })
    })
  })
}

describe('the last words of a process', () => {
  it.each([
    ['an error', 'setImmediate(() => { throw new Error(secret, { cause }) })', 'uncaughtException'],
    ['a rejection', 'Promise.reject(new Error(secret, { cause }))', 'unhandledRejection'],
    [
      'a rejection of the program itself',
      'await Promise.reject(new Error(secret, { cause }))',
      'uncaughtException',
    ],
  ])(
    'are one line about %s that nobody caught, and its exit code is what it was',
    async (_, program) => {
      const { code, lines, text } = await run(`
      const secret = 'told ${value}'
      const cause = Object.assign(new Error('cause'), { headers: { authorization: 'none of this' } })
      ${program}`)
      expect(code).toBe(1)
      expect(lines).toHaveLength(1)
      expect(lines[0]).toMatchObject({
        level: 'fatal',
        service: 'test',
        msg: 'uncaught error, the process ends',
        err: { message: 'told [redacted]', cause: { message: 'cause' } },
      })
      expect(text).not.toContain(value)
      expect(text).not.toContain('none of this')
    },
  )

  it.each(['undefined', 'null', '"text"', 'Object.create(null)'])(
    'are a line, whatever is thrown: %s',
    async (thrown) => {
      const { code, lines } = await run(`setImmediate(() => { throw ${thrown} })`)
      expect([code, lines.length]).toEqual([1, 1])
    },
  )

  it('are not spoken for a warning, which is a line too', async () => {
    const { code, lines } = await run(`process.emitWarning('password=${value}')`)
    expect(code).toBe(0)
    expect(lines).toMatchObject([{ level: 'warn', err: { message: 'password=[redacted]' } }])
  })
})
