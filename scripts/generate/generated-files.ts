/** Path from the repository's root → content. One generator may write several files. */
export type GeneratedFiles = Readonly<Record<string, string>>
