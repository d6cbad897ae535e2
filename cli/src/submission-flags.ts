import {
  aspects,
  cameras,
  type OptionName,
  optionNames,
  priorities,
  qualities,
  speakingWays,
  submissionOptionTexts,
  videoEnds,
  videoLengths,
} from '@avatar/contracts'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Submission } from './api-client.ts'
import { exitCodes, UserError } from './exit-codes.ts'
import { parseSeed } from './parse-seed.ts'

type Flag = { value: string; description: string; choices?: readonly string[] }

const files = {
  image: { short: '-i, ', description: 'the portrait, PNG or JPEG' },
  video: { short: '', description: 'instead of a portrait: a video to dub, MP4, MOV or WebM' },
  audio: { short: '-a, ', description: 'the voice, WAV or MP3' },
  audio2: { short: '', description: 'the voice of a second speaker' },
  voice: {
    short: '',
    description: 'drives the lips while --audio is heard, such as its vocals alone',
  },
} as const
type FileName = keyof typeof files
const fileNames = Object.keys(files) as FileName[] // It has no other keys.

/** The options of a job by their names in the API; each becomes a flag with hyphens. */
const options: Readonly<Record<OptionName, Flag>> = {
  quality: { value: 'quality', description: 'how much is computed', choices: qualities },
  aspect: { value: 'aspect', description: 'the shape of the video', choices: aspects },
  speaker: { value: 'face', description: 'who speaks: a number from the left, from 0, or l,t,r,b' },
  speakers: { value: 'boxes', description: 'where two speakers are: [[l,t,r,b],[l,t,r,b]]' },
  speaking: { value: 'way', description: 'how two voices meet', choices: speakingWays },
  turns: {
    value: 'json',
    description: 'who speaks when in one recording: [{"speaker":0,"start":0,"end":2.5},…]',
  },
  lead_seconds: { value: 'seconds', description: 'silence before the voice' },
  tail_seconds: { value: 'seconds', description: 'silence after the voice' },
  expressiveness: { value: 'factor', description: 'how lively the face is; 1 is as trained' },
  camera: { value: 'camera', description: 'whether the camera moves', choices: cameras },
  video_length: {
    value: 'rule',
    description: 'which of voice and video decides the length',
    choices: videoLengths,
  },
  video_end: {
    value: 'rule',
    description: 'what is seen once the video has ended',
    choices: videoEnds,
  },
}

const flagOf = (name: string) => `--${name.replaceAll('_', '-')}`

/** Checks a value as the API would; the text is sent as it was given. */
const checked = (name: OptionName) => (text: string) => {
  const { error } = submissionOptionTexts[name].safeParse(text)
  if (error) throw new InvalidArgumentError(`It ${error.issues[0]?.message}.`)
  return text
}

/** Adds every file and field that `POST /generate` takes to `command`. */
export function withSubmissionFlags(command: Command): Command {
  for (const name of fileNames) {
    const { short, description } = files[name]
    const flag = new Option(`${short}${flagOf(name)} <file>`, description)
    command.addOption(flag.makeOptionMandatory(name === 'audio'))
  }
  command
    .option('--prompt <text>', 'what to tell the model')
    .option('--seed <number>', 'the same seed, the same video', parseSeed)
    .addOption(
      new Option('--priority <priority>', 'high goes before your other jobs').choices(priorities),
    )
  for (const name of optionNames) {
    const { value, description, choices } = options[name]
    const flag = new Option(`${flagOf(name)} <${value}>`, description)
    command.addOption(choices ? flag.choices(choices) : flag.argParser(checked(name)))
  }
  return command
}

/**
 * The submission that the flags of `withSubmissionFlags` describe.
 *
 * @param given what Commander has parsed
 * @throws UserError when nothing shows the face
 */
export function submissionOf(given: Readonly<Record<string, unknown>>): Submission {
  if (given['image'] === undefined && given['video'] === undefined)
    throw new UserError('Give the portrait by --image, or a --video to dub.', exitCodes.usage)
  const named = (names: readonly string[]) =>
    names.flatMap((name) => {
      const value = given[new Option(`${flagOf(name)} <value>`).attributeName()]
      return value === undefined ? [] : [[name, String(value)] as const]
    })
  return {
    files: Object.fromEntries(named(fileNames)),
    fields: Object.fromEntries(named(['prompt', 'seed', 'priority', ...optionNames])),
  }
}
