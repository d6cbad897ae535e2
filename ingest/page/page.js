/**
 * The page at `/`: submits a job, follows it by its event stream, and plays the video. It calls the
 * API that everybody calls, with the key that the user pasted. Paths are relative, so that the page
 * also works behind a proxy that adds a prefix.
 */

/**
 * The part of a job's status that the page shows.
 * @typedef {{ job_id: string, status: string, stage: string, progress: number,
 *   queue_position: number | null, waiting_for: string | null, attempt: number,
 *   estimated_completion_at: string | null,
 *   error: { code: string, message: string } | null,
 *   warnings?: { code: string, message: string }[] }} View
 */

/** A failed call, in the API's own words. */
class CallFailed extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {Record<string, unknown>} details
   */
  constructor(code, message, details = {}) {
    super(message)
    this.code = code
    this.details = details
  }
}

const stages = new Map([
  ['accepted', 'Accepted'],
  ['queued', 'Waiting in the queue'],
  ['waiting_for_worker', 'Waiting for a worker to start'],
  ['fetching', 'Fetching the inputs'],
  ['rendering', 'Rendering'],
  ['storing', 'Storing the video'],
  ['cancelling', 'Cancelling'],
  ['completed', 'Done'],
  ['failed', 'Failed'],
  ['cancelled', 'Cancelled'],
])
const ended = new Set(['completed', 'failed', 'cancelled'])
const eventTypes = [
  ...['submitted', 'queued', 'started', 'progress', 'cancel-requested'],
  ...['completed', 'failed', 'cancelled'],
]
const reconnectMs = 1_000

/**
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} type
 * @returns {E}
 */
function element(id, type) {
  const found = document.getElementById(id)
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} "${id}"`)
  return found
}

const form = element('form', HTMLFormElement)
const key = element('key', HTMLInputElement)
const submitButton = element('submit', HTMLButtonElement)
const cancelButton = element('cancel', HTMLButtonElement)
const errorBox = element('error', HTMLElement)
const jobBox = element('job', HTMLElement)
const video = element('video', HTMLVideoElement)
const download = element('download', HTMLAnchorElement)
const curl = element('curl', HTMLElement)

/** The job that the address of the page names, for the path of a call. */
const jobInUrl = () => encodeURIComponent(location.hash.slice(1))

/** Ends the event stream of the job shown before. */
let following = new AbortController()

/**
 * One call of the API. A JSON body gives its `data`.
 *
 * @param {string} path relative to the page
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} of a successful call
 * @throws {CallFailed}
 */
async function call(path, init = {}) {
  const headers = new Headers(init.headers)
  const given = key.value.trim()
  if (/[^!-~]/.test(given))
    throw new CallFailed(
      'UNAUTHORIZED',
      'The API key has a character that no key has; paste it again.',
    )
  headers.set('authorization', `Bearer ${given}`)
  const answer = await fetch(path, { ...init, headers }).catch((error) => {
    if (init.signal?.aborted) throw error
    throw new CallFailed('NETWORK', 'The server did not answer. Check the connection; try again.')
  })
  if (answer.ok) return answer
  const { error } = await answer.json().catch(() => ({ error: undefined }))
  if (error) throw new CallFailed(error.code, error.message, error.details)
  throw new CallFailed(`HTTP_${answer.status}`, `The server answered ${answer.status}.`)
}

/** @param {Response} answer */
async function dataOf(answer) {
  const { data, meta } = await answer.json()
  return { ...data, warnings: data.warnings ?? meta.warnings }
}

/** @param {unknown} error */
function showError(error) {
  const { code, message, details } =
    error instanceof CallFailed ? error : new CallFailed('PAGE', String(error))
  element('error-message', HTMLElement).textContent = message
  element('error-code', HTMLElement).textContent = code
  const rows = Object.entries(details ?? {}).map(([name, value]) => {
    const [term, description] = [document.createElement('dt'), document.createElement('dd')]
    term.textContent = name.replaceAll('_', ' ')
    description.textContent = typeof value === 'string' ? value : JSON.stringify(value)
    return [term, description]
  })
  element('error-details', HTMLElement).replaceChildren(...rows.flat())
  errorBox.hidden = false
}

/** @param {View['warnings']} warnings */
function showWarnings(warnings) {
  const items = (warnings ?? []).map(({ message }) => {
    const item = document.createElement('li')
    item.textContent = message
    return item
  })
  if (items.length > 0) element('warnings', HTMLElement).replaceChildren(...items)
}

/** @param {View} view */
function show(view) {
  jobBox.hidden = false
  element('job-id', HTMLElement).textContent = view.job_id
  element('stage', HTMLElement).textContent = stages.get(view.stage) ?? view.stage
  const progress = element('progress', HTMLProgressElement)
  progress.value = view.progress
  progress.hidden = view.stage === 'failed' || view.stage === 'cancelled'
  const facts = []
  if (view.queue_position !== null) facts.push(`place ${view.queue_position} in the queue`)
  if (view.waiting_for === 'own_jobs') facts.push('waits for your other jobs')
  if (view.waiting_for === 'budget') facts.push('waits, because your budget is spent')
  if (view.progress > 0 && !ended.has(view.status)) facts.push(`${Math.round(view.progress)} %`)
  if (view.attempt > 1) facts.push(`attempt ${view.attempt}`)
  if (view.estimated_completion_at && !ended.has(view.status)) {
    const at = new Date(view.estimated_completion_at)
    facts.push(`done at about ${at.toLocaleTimeString()}`)
  }
  element('facts', HTMLElement).textContent = facts.join(' · ')
  showWarnings(view.warnings)
  cancelButton.disabled = view.stage === 'cancelling'
  cancelButton.hidden = ended.has(view.status)
  if (view.error) showError(new CallFailed(view.error.code, view.error.message))
}

/**
 * Shows a job until it has ended, and its video if there is one.
 *
 * @param {string} jobId
 */
async function follow(jobId) {
  following.abort()
  following = new AbortController()
  const { signal } = following
  location.hash = jobId
  video.hidden = true
  video.removeAttribute('src')
  download.hidden = true
  element('warnings', HTMLElement).replaceChildren()
  try {
    /** @type {View} */
    let view = await dataOf(await call(`status/${jobId}`, { signal }))
    while (!ended.has(view.status)) {
      show(view)
      await watch(jobId, signal)
      view = await dataOf(await call(`status/${jobId}`, { signal }))
      if (!ended.has(view.status)) await new Promise((resolve) => setTimeout(resolve, reconnectMs))
    }
    show(view)
    if (view.status === 'completed') await play(jobId, signal)
  } catch (error) {
    if (!signal.aborted) showError(error)
  }
}

/**
 * Shows what the event stream says, until it ends for good: with the job, or with its token. By itself
 * an `EventSource` connects again when a connection breaks.
 *
 * @param {string} jobId
 * @param {AbortSignal} signal
 */
async function watch(jobId, signal) {
  const { token } = await dataOf(await call(`events/${jobId}/token`, { method: 'POST', signal }))
  const source = new EventSource(`events/${jobId}?token=${encodeURIComponent(token)}`)
  await new Promise((resolve) => {
    signal.addEventListener('abort', resolve)
    for (const type of eventTypes) {
      source.addEventListener(type, ({ data }) => {
        const view = JSON.parse(data)
        show(view)
        if (ended.has(view.status)) resolve(undefined)
      })
    }
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) resolve(undefined)
    })
  })
  source.close()
  signal.throwIfAborted()
}

/**
 * @param {string} jobId
 * @param {AbortSignal} signal
 */
async function play(jobId, signal) {
  const result = await dataOf(await call(`result/${jobId}`, { signal }))
  showWarnings(result.warnings)
  video.src = result.url
  video.hidden = false
  download.href = result.download_url ?? result.url
  download.download = ''
  download.hidden = false
}

/** Shows the call that the form makes. The key stays out of it, so that it can be shared. */
function showCurl() {
  const quoted = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`
  /** curl ends a file's name at these, unless the name is in quotes of its own. */
  const fileName = (/** @type {string} */ name) =>
    /[;,"]/.test(name) ? `"${name.replaceAll(/["\\]/g, '\\$&')}"` : name
  const file = (/** @type {string} */ name, /** @type {string} */ example) =>
    quoted(`${name}=@${fileName(element(name, HTMLInputElement).files?.[0]?.name ?? example)}`)
  const lines = [
    `curl ${quoted(new URL('generate', document.baseURI).href)}`,
    '-H "Authorization: Bearer $AVATAR_KEY"',
    `-F ${file('image', 'portrait.jpg')}`,
    `-F ${file('audio', 'voice.wav')}`,
  ]
  for (const name of ['prompt', 'seed', 'priority', 'quality', 'aspect', 'speaker']) {
    const value = new FormData(form).get(name)
    if (typeof value === 'string' && value)
      lines.push(`--form-string ${quoted(`${name}=${value}`)}`)
  }
  curl.textContent = lines.join(' \\\n  ')
}

/** @param {'image' | 'audio'} name */
function previewFile(name) {
  const [file] = element(name, HTMLInputElement).files ?? []
  const preview = /** @type {HTMLImageElement | HTMLAudioElement} */ (
    document.getElementById(`${name}-preview`)
  )
  URL.revokeObjectURL(preview.src)
  preview.hidden = !file
  if (!file) return
  preview.src = URL.createObjectURL(file)
  element(`${name}-name`, HTMLElement).textContent =
    `${file.name}, ${(file.size / 2 ** 20).toFixed(1)} MB`
  showCurl()
}

// A file that misses its place must not replace the page.
for (const type of ['dragover', 'drop'])
  document.addEventListener(type, (event) => event.preventDefault())

for (const name of /** @type {const} */ (['image', 'audio'])) {
  const input = element(name, HTMLInputElement)
  const zone = /** @type {HTMLElement} */ (input.closest('.drop'))
  input.addEventListener('change', () => previewFile(name))
  for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    zone.addEventListener(type, (event) => {
      event.preventDefault()
      zone.classList.toggle('over', type.startsWith('drag') && type !== 'dragleave')
    })
  }
  zone.addEventListener('drop', ({ dataTransfer }) => {
    if (!dataTransfer?.files.length) return
    input.files = dataTransfer.files
    previewFile(name)
  })
}

form.addEventListener('input', showCurl)
form.addEventListener('submit', async (event) => {
  event.preventDefault()
  errorBox.hidden = true
  submitButton.disabled = true
  const fields = new FormData(form)
  fields.delete('key')
  for (const name of ['image', 'audio']) {
    const file = fields.get(name)
    if (file instanceof File && file.size === 0 && !file.name) fields.delete(name)
  }
  try {
    const accepted = await dataOf(await call('generate', { method: 'POST', body: fields }))
    sessionStorage.setItem('key', key.value.trim())
    void follow(accepted.job_id)
    showWarnings(accepted.warnings)
  } catch (error) {
    showError(error)
  } finally {
    submitButton.disabled = false
  }
})

cancelButton.addEventListener('click', async () => {
  cancelButton.disabled = true
  try {
    await call(`cancel/${jobInUrl()}`, { method: 'POST' })
  } catch (error) {
    cancelButton.disabled = false
    showError(error)
  }
})

element('copy', HTMLButtonElement).addEventListener('click', ({ currentTarget }) => {
  const button = /** @type {HTMLButtonElement} */ (currentTarget)
  navigator.clipboard.writeText(curl.textContent ?? '').then(
    () => {
      button.textContent = 'Copied'
    },
    () => getSelection()?.selectAllChildren(curl),
  )
})

key.value = sessionStorage.getItem('key') ?? ''
showCurl()
// A reload goes on where it was.
if (key.value && location.hash) void follow(jobInUrl())
