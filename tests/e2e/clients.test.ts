import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import axios from 'axios'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findChromium, portrait, type System, startSystem, until, voice } from '../harness/index.ts'

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '../..')
const clients = resolve(import.meta.dirname, '../clients')
const python = join(root, '.venv/bin/python')
const browserPath = findChromium()
if (!browserPath)
  console.info('the page is not tested: install Chromium, or set CHROMIUM_PATH (apt: chromium)')

/** What a client saw: of a refused submission its code, of an accepted one its video. */
type Journey = { jobId: string; refusal: string; type: string; bytes: number }

describe('real clients', () => {
  let system: System
  let folder: string
  let key: string
  let image: string
  let audio: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'avatar-clients-'))
    image = join(folder, 'my face.png')
    audio = join(folder, 'my voice.wav')
    await writeFile(image, portrait())
    await writeFile(audio, voice({ seconds: 1 }))
    system = await startSystem()
    key = await system.createKey('clients')
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
    await rm(folder, { recursive: true, force: true })
  })

  async function byProgram(program: string, ...args: string[]): Promise<Journey> {
    const { stdout } = await run(program, [...args, system.url, key, image, audio])
    return JSON.parse(stdout)
  }

  async function byAxios(): Promise<Journey> {
    const api = axios.create({
      baseURL: system.url,
      headers: { Authorization: `Bearer ${key}` },
      validateStatus: () => true,
    })
    const refused = await api.postForm('/generate', { image: createReadStream(image) })
    const submitted = await api.postForm('/generate', {
      image: createReadStream(image),
      audio: createReadStream(audio),
      seed: 7,
    })
    const jobId = submitted.data.data.job_id
    await until(async () => (await api.get(`/status/${jobId}`)).data.data.status === 'completed')
    const { data } = await api.get(`/result/${jobId}`)
    const video = await axios.get(data.data.url, { responseType: 'arraybuffer' })
    const type = String(video.headers['content-type'])
    return { jobId, refusal: refused.data.error.code, type, bytes: video.data.byteLength }
  }

  async function byFetch(): Promise<Journey> {
    const own = system.clientWith(key)
    const form = new FormData()
    form.set('image', new Blob([await readFile(image)]), 'face.png')
    const refused = await own.send('/generate', { method: 'POST', body: form })
    const { jobId } = await own.submit()
    await own.untilEnded(jobId, 'completed')
    const video = await fetch((await own.result(jobId)).url)
    const type = video.headers.get('content-type') ?? ''
    const { error } = refused.body as { error: { code: string } } // `send` does not look inside.
    return { jobId, refusal: error.code, type, bytes: (await video.arrayBuffer()).byteLength }
  }

  /** By a client that is generated from the API's own document. */
  async function byGenerated(): Promise<Journey> {
    const document = join(folder, 'openapi.json')
    await writeFile(document, await (await fetch(`${system.url}/openapi.json`)).text())
    const generator = join(root, '.venv/bin/openapi-python-client')
    const output = join(folder, 'generated')
    const flags = ['generate', '--meta', 'none', '--path', document, '--output-path', output]
    await run(generator, flags)
    const env = { ...process.env, PYTHONPATH: folder }
    const program = join(clients, 'generated_journey.py')
    const { stdout } = await run(python, [program, system.url, key, image, audio], { env })
    return JSON.parse(stdout)
  }

  it.each<[string, () => Promise<Journey>]>([
    ['curl', () => byProgram(join(clients, 'journey.sh'))],
    ["Python's requests", () => byProgram(python, join(clients, 'journey.py'), 'requests')],
    ["Python's httpx", () => byProgram(python, join(clients, 'journey.py'), 'httpx')],
    ["Node's fetch", byFetch],
    ['axios', byAxios],
    ['a client generated from /openapi.json', byGenerated],
  ])('%s submits, follows and downloads a job, and can read a refusal', async (_name, journey) => {
    const { jobId, refusal, ...seen } = await journey()
    expect(['AUDIO_MISSING', 'INVALID_REQUEST']).toContain(refusal)
    const { bytes } = await system.clientWith(key).result(jobId)
    expect(seen).toEqual({ type: 'video/mp4', bytes })
  })

  // In CI a missing browser fails the first of these.
  describe.skipIf(!browserPath && !process.env['CI'])('Chromium', () => {
    let browser: Browser
    beforeAll(async () => {
      expect(browserPath, 'there is no Chromium').toBeDefined()
      const executablePath = browserPath ?? ''
      // As root, as in CI, Chromium cannot sandbox. The pages are our own.
      browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
    })
    afterAll(() => browser?.close())

    async function openPage(options = {}): Promise<{ page: Page; problems: string[] }> {
      const page = await browser.newPage(options)
      const problems: string[] = []
      page.on('pageerror', (error) => problems.push(String(error)))
      page.on('console', (message) => {
        if (message.type() === 'error') problems.push(message.text())
      })
      await page.goto(system.url)
      return { page, problems }
    }

    async function submit(page: Page, prompt = '') {
      await page.getByLabel('API key').fill(key)
      await page.locator('#image').setInputFiles(image)
      await page.locator('#audio').setInputFiles(audio)
      await page.getByText('Quality, shape, speaker, prompt and more').click()
      await page.getByLabel('Prompt', { exact: true }).fill(prompt)
      await page.getByRole('button', { name: 'Make the video' }).click()
    }

    it('submits by the page, follows the stages, plays the video and downloads it', async () => {
      const { page, problems } = await openPage()
      await submit(page, 'null:seconds=2')
      await page.getByText('Rendering', { exact: true }).waitFor()
      await until(() => page.evaluate('document.querySelector("progress").value > 0'))
      await page.getByRole('heading', { name: 'Done' }).waitFor()
      await page.locator('video').waitFor()
      await page.evaluate('document.querySelector("video").play()')
      await until(() => page.evaluate('document.querySelector("video").currentTime > 0.2'))
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('link', { name: 'Download' }).click(),
      ])
      expect(download.suggestedFilename()).toMatch(/^avatar-.*\.mp4$/)
      expect((await readFile(await download.path())).subarray(4, 8).toString()).toBe('ftyp')
      expect(problems).toEqual([])
      await page.close()
    })

    it('shows the place in the queue, cancels, and goes on after a reload', async () => {
      const { page } = await openPage()
      const other = system.clientWith(key)
      const first = await other.submit({ prompt: 'null:seconds=60' })
      const second = await other.submit({ prompt: 'null:seconds=60' })
      await submit(page, 'null:seconds=60')
      await page.getByText('place 2 in the queue').waitFor()
      await page.reload()
      await page.getByText('place 2 in the queue').waitFor()
      await page.getByRole('button', { name: 'Cancel' }).click()
      await page.getByRole('heading', { name: 'Cancelled' }).waitFor()
      for (const { jobId } of [first, second]) await other.cancel(jobId)
      await page.close()
    })

    it("keeps the browser's EventSource from connecting again after the end of a job", async () => {
      const { page } = await openPage()
      const own = system.clientWith(key)
      const { jobId } = await own.submit()
      const { body } = await own.send(`/events/${jobId}/token`, { method: 'POST' })
      const { data } = body as { data: { url: string } } // `send` does not look inside.
      const opened = await page.evaluate(`new Promise((resolve) => {
        const source = new EventSource(${JSON.stringify(data.url)})
        let opened = 0
        source.onopen = () => opened++
        source.onerror = () => source.readyState === EventSource.CLOSED && resolve(opened)
      })`)
      expect(opened).toBe(1)
      await page.close()
    })

    it('shows a call that curl understands as the page does, and keeps dropped files', async () => {
      const { page } = await openPage()
      await page
        .locator('#image')
        .setInputFiles({ name: 'a;b,"c.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('x') })
      await page.getByText('Quality, shape, speaker, prompt and more').click()
      await page.getByLabel('Prompt', { exact: true }).fill('@/etc/passwd')
      const call = await page.locator('#curl').innerText()
      expect(call).toContain(String.raw`-F 'image=@"a;b,\"c.jpg"'`)
      expect(call).toContain(`--form-string 'prompt=@/etc/passwd'`)
      const isPrevented = await page.evaluate(
        'document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true }))',
      )
      expect(isPrevented).toBe(false)
      await page.close()
    })

    it.each([
      ['a key of other letters', 'ключ', '', 'UNAUTHORIZED'],
      ['another path in place of a job', '', '../jobs', 'INVALID_REQUEST'],
      ['half an escape in place of a job', '', '%', 'INVALID_REQUEST'],
    ])('says what is wrong with %s', async (_what, wrongKey, hash, code) => {
      const { page } = await openPage()
      await page.evaluate(`sessionStorage.setItem('key', ${JSON.stringify(wrongKey || key)})`)
      await page.goto(`${system.url}/?again#${hash || 'x'}`)
      await page.getByText(code).waitFor()
      await page.close()
    })

    it("shows a refusal in the API's own words, on a narrow screen too", async () => {
      const { page } = await openPage({ viewport: { width: 360, height: 740 } })
      await page.getByLabel('API key').fill('ava_live_wrong')
      await page.locator('#image').setInputFiles(audio)
      await page.locator('#audio').setInputFiles(audio)
      await page.getByRole('button', { name: 'Make the video' }).click()
      await page.getByText('UNAUTHORIZED').waitFor()
      await page.getByLabel('API key').fill(key)
      await page.getByRole('button', { name: 'Make the video' }).click()
      await page.getByText('INVALID_IMAGE_FORMAT').waitFor()
      const wide = await page.evaluate('document.documentElement.scrollWidth > innerWidth')
      expect(wide).toBe(false)
      await page.close()
    })
  })
})
