import { z } from 'zod'
import { limits } from './limits.ts'
import {
  aspects,
  cameras,
  type FaceBox,
  facesNamed,
  qualities,
  type RenderOptions,
  speakingWays,
  videoEnds,
  videoLengths,
} from './render-options.ts'

const oneOf = <const Words extends readonly [string, ...string[]]>(words: Words) => {
  const last = words.at(-1) ?? ''
  return z.enum(words, `must be ${words.slice(0, -1).join(', ')} or ${last}`)
}

const within = (min: number, max: number, unit: string) => {
  const problem = `must be a number from ${min} to ${max}${unit}`
  return { problem, schema: z.number(problem).min(min, problem).max(max, problem) }
}

const silence = within(0, limits.silenceMaxSeconds, ', in seconds')
const { min, max } = limits.expressiveness
const expressiveness = within(min, max, '')

const boxProblem =
  'a box is left, top, right, bottom in shares of the picture from 0 to 1, left before right and top ' +
  'before bottom'
const isBox = ([left, top, right, bottom]: readonly number[]) =>
  [left, top, right, bottom].every((side) => side !== undefined && side >= 0 && side <= 1) &&
  Number(left) < Number(right) &&
  Number(top) < Number(bottom)
const boxSides = z.array(z.number(boxProblem), boxProblem).length(4, boxProblem)
const box = boxSides.refine(isBox, boxProblem)

const speakerProblem =
  `must be auto, the number of a face counted from the left (0 to ${facesNamed - 1}), or a box: ` +
  'left,top,right,bottom in shares of the picture from 0 to 1'
const speaker = z.union(
  [
    z
      .int()
      .min(0)
      .max(facesNamed - 1),
    z.string().refine((text) => speakerOf(text) !== undefined),
  ],
  speakerProblem,
)

const speakersProblem = `must be two boxes, [[l,t,r,b],[l,t,r,b]]; ${boxProblem}`
const speakers = z.array(box, speakersProblem).length(2, speakersProblem)

const turnsProblem =
  `must be 1 to ${limits.turnsMax} turns such as [{"speaker":0,"start":0,"end":2.5}], speaker 0 or 1, ` +
  'start before end, in seconds of the recording'
const second = z.number(turnsProblem).min(0, turnsProblem).max(limits.audioMaxSeconds, turnsProblem)
const turn = z
  .strictObject(
    {
      speaker: z.int(turnsProblem).min(0, turnsProblem).max(1, turnsProblem),
      start: second,
      end: second,
    },
    turnsProblem,
  )
  .refine(({ start, end }) => start < end, turnsProblem)
export type SpeakingTurn = z.infer<typeof turn>
const turns = z.array(turn, turnsProblem).min(1, turnsProblem).max(limits.turnsMax, turnsProblem)

/** What either door takes beyond the media, the prompt and the seed. */
export const submissionOptions = {
  quality: oneOf(qualities).optional(),
  aspect: oneOf(aspects).optional(),
  speaker: speaker.optional(),
  speakers: speakers.optional(),
  speaking: oneOf(speakingWays).optional(),
  turns: turns.optional(),
  lead_seconds: silence.schema.optional(),
  tail_seconds: silence.schema.optional(),
  expressiveness: expressiveness.schema.optional(),
  camera: oneOf(cameras).optional(),
  video_length: oneOf(videoLengths).optional(),
  video_end: oneOf(videoEnds).optional(),
}
export type SubmissionOptions = z.infer<z.ZodObject<typeof submissionOptions>>
export type OptionName = keyof SubmissionOptions

/** The names of all options, as callers write them. */
export const optionNames = Object.keys(submissionOptions) as OptionName[] // It has no other keys.

const word = <Schema extends z.ZodType<unknown, string>>(schema: Schema) =>
  z.string().trim().pipe(schema)
const numberOf = ({ problem, schema }: ReturnType<typeof within>) =>
  z.string().trim().min(1, problem).pipe(z.coerce.number(problem)).pipe(schema)
const jsonOf = <Schema extends z.ZodType>(schema: Schema, problem: string) =>
  z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text)
      } catch {
        context.addIssue(problem)
        return z.NEVER
      }
    })
    .pipe(schema)

/** The same options as a form sends them: as text. */
export const submissionOptionTexts = {
  quality: word(oneOf(qualities)).optional(),
  aspect: word(oneOf(aspects)).optional(),
  speaker: z
    .string()
    .trim()
    .refine((text) => speakerOf(text) !== undefined, speakerProblem)
    .optional(),
  speakers: jsonOf(speakers, speakersProblem).optional(),
  speaking: word(oneOf(speakingWays)).optional(),
  turns: jsonOf(turns, turnsProblem).optional(),
  lead_seconds: numberOf(silence).optional(),
  tail_seconds: numberOf(silence).optional(),
  expressiveness: numberOf(expressiveness).optional(),
  camera: word(oneOf(cameras)).optional(),
  video_length: word(oneOf(videoLengths)).optional(),
  video_end: word(oneOf(videoEnds)).optional(),
}

/** `auto`, a face's number or a box; undefined for anything else. */
function speakerOf(given: string | number): 'auto' | number | FaceBox | undefined {
  const text = String(given).trim()
  if (text === 'auto') return 'auto'
  if (/^\d$/.test(text)) return Number(text) < facesNamed ? Number(text) : undefined
  const sides = text.split(',').map((side) => (side.trim() === '' ? Number.NaN : Number(side)))
  return sides.length === 4 && isBox(sides) ? boxOf(sides) : undefined
}

function boxOf([left = 0, top = 0, right = 0, bottom = 0]: readonly number[]): FaceBox {
  return { left, top, right, bottom }
}

/** The options as a record keeps them; undefined when none was given. */
export function renderOptionsOf(given: SubmissionOptions): RenderOptions | undefined {
  const speaker = given.speaker === undefined ? undefined : speakerOf(given.speaker)
  const options = {
    quality: given.quality,
    aspect: given.aspect,
    speaker: speaker === 'auto' ? undefined : speaker,
    speakers: given.speakers?.map(boxOf),
    speaking: given.speaking ?? (given.turns ? ('turns' as const) : undefined),
    leadSeconds: given.lead_seconds,
    tailSeconds: given.tail_seconds,
    expressiveness: given.expressiveness,
    camera: given.camera,
    videoLength: given.video_length,
    videoEnd: given.video_end,
  }
  const known = Object.entries(options).filter(([, value]) => value !== undefined)
  return known.length > 0 ? Object.fromEntries(known) : undefined
}

/** The options that were given, in the order of the table. They tell two requests apart. */
export function optionsGiven(given: SubmissionOptions): Partial<SubmissionOptions> | undefined {
  const known = optionNames.flatMap((name) =>
    given[name] === undefined ? [] : [[name, given[name]] as const],
  )
  return known.length > 0 ? Object.fromEntries(known) : undefined
}

/** Which files came with a submission. */
export type MediaSent = { image: boolean; video: boolean; audio2: boolean; voice: boolean }

/** An option that makes no sense beside what else was sent; undefined when all fits. */
export function clashOf(
  given: SubmissionOptions,
  sent: MediaSent,
): { field: string; problem: string } | undefined {
  const { speaking } = given
  const hasTurns = given.turns !== undefined
  const isInTurns = hasTurns || speaking === 'turns'
  const clashes: [field: string, isClash: boolean, problem: string][] = [
    ['video', sent.image && sent.video, 'send either an image or a video'],
    ['voice', sent.voice && sent.audio2, 'it takes the place of one voice; leave out audio2'],
    ['voice', sent.voice && isInTurns, 'it takes the place of one voice; leave out turns'],
    ['turns', speaking === 'turns' && !hasTurns, 'say who speaks when, or leave out speaking'],
    [
      'turns',
      hasTurns && speaking !== undefined && speaking !== 'turns',
      'they need speaking=turns, or no speaking at all',
    ],
    ['audio2', sent.audio2 && isInTurns, 'turns share one recording; leave out one of both'],
    [
      'speaking',
      (speaking === 'together' || speaking === 'in_turn') && !sent.audio2,
      'it needs a second recording, audio2',
    ],
    [
      'speakers',
      given.speakers !== undefined && !sent.audio2 && !isInTurns,
      'they need a second voice, audio2 or turns; for one voice send speaker',
    ],
    [
      'speaker',
      given.speaker !== undefined && (sent.audio2 || isInTurns),
      'it names one of one; for two voices send speakers',
    ],
    ['video_length', given.video_length !== undefined && !sent.video, 'it needs a video'],
    ['video_end', given.video_end !== undefined && !sent.video, 'it needs a video'],
  ]
  const clash = clashes.find(([, isClash]) => isClash)
  return clash && { field: clash[0], problem: clash[2] }
}
