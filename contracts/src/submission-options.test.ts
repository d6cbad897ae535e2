import { describe, expect, it } from 'vitest'
import { submissionFieldsSchema, submissionTextSchema } from './intake.ts'
import {
  clashOf,
  type MediaSent,
  optionsGiven,
  renderOptionsOf,
  type SubmissionOptions,
  submissionOptionTexts,
} from './submission-options.ts'

const textOf = (fields: Record<string, string>) => submissionTextSchema.safeParse(fields)
const problemOf = (fields: Record<string, string>) =>
  textOf(fields).error?.issues[0]?.message ?? 'no problem'

describe('an option as text', () => {
  it('means what its JSON value means', () => {
    const text = {
      quality: ' high ',
      aspect: '4:5',
      speaker: '0.1, 0.2,0.5,0.9',
      speakers: '[[0,0,0.5,1],[0.5,0,1,1]]',
      speaking: 'in_turn',
      turns: '[{"speaker":1,"start":0,"end":2.5}]',
      lead_seconds: '2',
      tail_seconds: '0.5',
      expressiveness: '1.5',
      camera: 'drift',
      video_length: 'shorter',
      video_end: 'pingpong',
    }
    expect(Object.keys(text)).toEqual(Object.keys(submissionOptionTexts))
    const typed = {
      ...{ quality: 'high', aspect: '4:5', speaker: '0.1, 0.2,0.5,0.9', speaking: 'in_turn' },
      speakers: [
        [0, 0, 0.5, 1],
        [0.5, 0, 1, 1],
      ],
      turns: [{ speaker: 1, start: 0, end: 2.5 }],
      ...{ lead_seconds: 2, tail_seconds: 0.5, expressiveness: 1.5, camera: 'drift' },
      ...{ video_length: 'shorter', video_end: 'pingpong' },
    }
    expect(textOf(text).data).toEqual({ prompt: '', ...typed })
    expect(submissionFieldsSchema.parse(typed)).toEqual({ prompt: '', ...typed })
  })

  it.each([
    [{ quality: 'best' }, 'draft, standard or high'],
    [{ aspect: '16:10' }, '16:9'],
    [{ speaker: '8' }, '0 to 7'],
    [{ speaker: 'left' }, 'auto'],
    [{ speaker: '0.5,0,0.2,1' }, 'left,top,right,bottom'],
    [{ speaker: '0,0,1' }, 'left,top,right,bottom'],
    [{ speaker: '0,,1,1' }, 'left,top,right,bottom'],
    [{ speakers: '[[0,0,1,1]]' }, 'two boxes'],
    [{ speakers: '[[0,0,1,1],[0,0,2,1]]' }, 'shares of the picture'],
    [{ speakers: 'left' }, 'two boxes'],
    [{ turns: '[]' }, '1 to 200 turns'],
    [{ turns: '[{"speaker":2,"start":0,"end":1}]' }, 'speaker 0 or 1'],
    [{ turns: '[{"speaker":0,"start":1,"end":1}]' }, 'start before end'],
    [{ lead_seconds: '5.1' }, '0 to 5'],
    [{ tail_seconds: '' }, '0 to 5'],
    [{ lead_seconds: 'NaN' }, '0 to 5'],
    [{ expressiveness: '0.4' }, '0.5 to 1.5'],
    [{ camera: 'pan' }, 'auto, still or drift'],
    [{ video_length: 'longer' }, 'audio, shorter or video'],
    [{ video_end: 'loop' }, 'hold or pingpong'],
  ])('is refused with what would be right: %o', (fields, problem) => {
    expect(problemOf(fields)).toContain(problem)
  })
})

describe('the options of a record', () => {
  it('are none where none was given', () => {
    expect(renderOptionsOf({})).toBeUndefined()
    expect(renderOptionsOf({ speaker: 'auto' })).toBeUndefined()
    expect(optionsGiven({})).toBeUndefined()
  })

  it('are what was given, and a speaker is a number or a box', () => {
    expect(renderOptionsOf({ quality: 'draft', lead_seconds: 0 })).toEqual({
      quality: 'draft',
      leadSeconds: 0,
    })
    expect(renderOptionsOf({ speaker: '3' })).toEqual({ speaker: 3 })
    expect(renderOptionsOf({ speaker: 3 })).toEqual({ speaker: 3 })
    expect(renderOptionsOf({ speaker: '0,0.1,1,0.9' })).toEqual({
      speaker: { left: 0, top: 0.1, right: 1, bottom: 0.9 },
    })
    const turns = [{ speaker: 0, start: 0, end: 1 }]
    expect(renderOptionsOf({ turns })).toEqual({ speaking: 'turns' })
    expect(optionsGiven({ tail_seconds: 1, quality: 'high' })).toEqual({
      quality: 'high',
      tail_seconds: 1,
    })
  })
})

describe('options that do not go together', () => {
  const turns = [{ speaker: 0, start: 0, end: 1 }]
  const boxes = [
    [0, 0, 0.5, 1],
    [0.5, 0, 1, 1],
  ]
  const portrait: MediaSent = { image: true, video: false, audio2: false, voice: false }
  it.each<[SubmissionOptions, Partial<MediaSent>, string | undefined]>([
    [{}, {}, undefined],
    [{ speaker: '0', video_length: undefined }, {}, undefined],
    [{ speaking: 'in_turn', speakers: boxes }, { audio2: true }, undefined],
    [{ turns, speakers: boxes }, {}, undefined],
    [{ video_end: 'hold' }, { image: false, video: true }, undefined],
    [{}, { video: true }, 'video'],
    [{}, { voice: true, audio2: true }, 'voice'],
    [{ turns }, { voice: true }, 'voice'],
    [{ speaking: 'turns' }, {}, 'turns'],
    [{ speaking: 'in_turn', turns }, { audio2: true }, 'turns'],
    [{ turns }, { audio2: true }, 'audio2'],
    [{ speaking: 'together' }, {}, 'speaking'],
    [{ speakers: boxes }, {}, 'speakers'],
    [{ speaker: '0' }, { audio2: true }, 'speaker'],
    [{ video_length: 'video' }, {}, 'video_length'],
    [{ video_end: 'hold' }, {}, 'video_end'],
  ])('name the field: %o beside %o is %s', (options, sent, field) => {
    expect(clashOf(options, { ...portrait, ...sent })?.field).toBe(field)
  })
})
