import { z } from 'zod'

/** What a job may ask for, quickest first. */
export const qualities = ['draft', 'standard', 'high'] as const
export const qualitySchema = z.enum(qualities)
export type Quality = z.infer<typeof qualitySchema>

/** Shapes of the delivered video; `auto` is the one nearest to the picture. */
export const aspects = ['auto', '16:9', '9:16', '1:1', '4:5', '5:4', '2:3', '3:2'] as const
export type Aspect = (typeof aspects)[number]

export const cameras = ['auto', 'still', 'drift'] as const

/** How two speakers share the time: at once, one after the other, or as the caller's turns say. */
export const speakingWays = ['together', 'in_turn', 'turns'] as const

/** What decides the length of a video that dubs another: the voice, the shorter of both, or the source. */
export const videoLengths = ['audio', 'shorter', 'video'] as const

/** What follows where the voice outlasts a source video: its last frame, or the video backwards. */
export const videoEnds = ['hold', 'pingpong'] as const

/** Faces that can be named by their number, counted from the left. */
export const facesNamed = 8

const share = z.number().min(0).max(1)

/** A part of the picture, in shares of its width and height. */
export const faceBoxSchema = z
  .object({ left: share, top: share, right: share, bottom: share })
  .meta({ title: 'FaceBox' })
export type FaceBox = z.infer<typeof faceBoxSchema>

/** A face by its place, counted from the left. */
export const faceNumberSchema = z
  .int()
  .min(0)
  .max(facesNamed - 1)

/**
 * What a job asks for beyond its media, as its submission gave it: whatever was not given is left out.
 * A job that asked for nothing has no such object.
 */
export const renderOptionsSchema = z
  .object({
    quality: qualitySchema.optional(),
    aspect: z.enum(aspects).optional(),
    /** Who speaks: a face counted from the left, from 0, or a box. Absent for the one that stands out. */
    speaker: z.union([faceNumberSchema, faceBoxSchema]).optional(),
    /** Where two voices belong, the first one's box first. Absent for left to right. */
    speakers: z.array(faceBoxSchema).length(2).optional(),
    speaking: z.enum(speakingWays).optional(),
    /** Silence before and after. */
    leadSeconds: z.number().min(0).optional(),
    tailSeconds: z.number().min(0).optional(),
    /** How much of what the voice adds to the picture is used; 1 is all of it. */
    expressiveness: z.number().positive().optional(),
    camera: z.enum(cameras).optional(),
    videoLength: z.enum(videoLengths).optional(),
    videoEnd: z.enum(videoEnds).optional(),
  })
  .meta({ title: 'RenderOptions' })
export type RenderOptions = z.infer<typeof renderOptionsSchema>

/** The quality of a job that asks for none. */
export const usualQuality: Quality = 'standard'
