import { z } from 'zod'

/** How long media are kept after their job has ended. */
export const retentionConfig = {
  VIDEO_RETENTION_HOURS: z.coerce
    .number()
    .positive()
    .max(24 * 7)
    .default(6)
    .describe('media are deleted this long after the end of their job; decimals allowed'),
}

/** The shortest time that a render may take. */
export const deadlineConfig = {
  RENDER_DEADLINE_MIN_SECONDS: z.coerce
    .number()
    .positive()
    .default(600)
    .describe('shortest deadline of a render; the deadline is this or the estimate × 1.5'),
}
