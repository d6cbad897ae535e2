/** One shape of a secret in a text, and what is left of it. */
export type SecretShape = {
  readonly name: string
  /** Lower-case texts, one of which stands in every text that the pattern matches. */
  readonly hints: readonly string[]
  /**
   * Means the same in JavaScript and in Python (`re.ASCII`), so it has no `\s`. It needs time in
   * proportion to the text: repetitions of unlimited length stop at the characters that follow them.
   */
  readonly pattern: string
  readonly ignoresCase?: true
  /** `$1` is what the pattern's group matched. */
  readonly replacement: string
}

/** What stands for a secret in a line. */
export const redacted = '[redacted]'

/** The look-ahead spares Python most of its tries. */
const names =
  '(?=[ackpst])(?:(?:passw(?:or)?d|passphrase|secret|token|credential|cookie|authorization|(?:api|access|private|signing)[_-]?key)[A-Za-z0-9_-]{0,32}|key)'
const nameHints = ['pass', 'secret', 'token', 'credential', 'cookie', 'auth', 'key']
/** A key of an object in the store is no secret, and an operator looks for it. */
const notAnObject = '(?!jobs/|intake/)'

/** A word begins here; in JSON a newline before it ends with a letter. */
const begin = String.raw`(?:\b|(?<=\\[nrt]))`

/** The inside of a JSON string, of one within a JSON string, and of text in single quotes. */
const inQuotes = String.raw`(?:[^"\\]|\\[^\r\n])+`
const inEscapedQuotes = String.raw`(?:[^"\\]|\\[^"\\]|\\\\(?:\\[^\r\n])?)+`
const inSingleQuotes = String.raw`(?:[^'"\\]|\\[^\r\n])+`
/** A value without quotes ends with the word. An escaped backslash belongs to it, an escaped newline does not. */
const word = String.raw`(?:[^ "'\\<>\t\r\n]|\\\\)+`

/**
 * What secrets look like, wherever they stand: in lines of the log, in the attributes of spans, in what is
 * stored about failures. It is the last line of defence, and the values that a process was given itself
 * are hidden first, whatever their shape. A replacement leaves the JSON around it valid.
 */
export const secretShapes: readonly SecretShape[] = [
  {
    name: 'password in a URL, slashes included',
    hints: ['://'],
    pattern: String.raw`(://[^:/@ "'<>\t\r\n]{0,64}:)(?:[^@ "'<>\t\r\n]{1,256}@)+`,
    replacement: `$1${redacted}@`,
  },
  {
    name: 'query of a URL, presigned or not',
    hints: ['://'],
    pattern: String.raw`(://[^/? "'<>\\\t\r\n]{1,512}(?:/[^:? "'<>\\\t\r\n]{0,2048})?\?)[^ "'<>\\\t\r\n]+`,
    replacement: `$1${redacted}`,
  },
  {
    name: 'presigned query without its URL',
    hints: ['x-amz-'],
    pattern: String.raw`(\?)(?=[^? "'<>\\\t\r\n]{0,2048}x-amz-(?:signature|credential|security-token)(?:=|%3D))[^ "'<>\\\t\r\n]+`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'rest of a presigned query',
    hints: ['x-amz-'],
    pattern: String.raw`(x-amz-(?:signature|credential|security-token)(?:=|%3D))[^ "'<>\\\t\r\n]+`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'header of a request, as text',
    hints: ['auth', 'key'],
    pattern: String.raw`((?:authorization|x-api-key|x-auth-token) ?: ?)[^"'\\<>\r\n]+`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'header of a request, in a list of names and values',
    hints: ['auth', 'key', 'cookie'],
    pattern: String.raw`((?:authorization|x-api-key|x-auth-token|cookie)\\{0,3}", ?\\{0,3}")(?:[^"\\]|\\[^"\r\n])+`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'value in quotes under the name of a secret',
    hints: nameHints,
    pattern: `(${names}"? ?[:=] ?")${notAnObject}${inQuotes}`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'value under the name of a secret, in JSON within a JSON string',
    hints: nameHints,
    pattern: String.raw`(${names}(?:\\{1,3}")? ?[:=] ?\\{1,3}")${notAnObject}${inEscapedQuotes}`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'value in single quotes under the name of a secret',
    hints: ["'"],
    pattern: `(${names}'? ?[:=] ?')${notAnObject}${inSingleQuotes}`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'variable of an environment',
    hints: ['='],
    pattern: `(${names}=)${notAnObject}${word}`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    name: 'bearer token',
    hints: ['bearer'],
    pattern: String.raw`(bearer(?: +|%20|\+))[^ "'\\<>\t\r\n]+`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
  {
    // The look-ahead tells Base64 from a word such as "authentication".
    name: 'basic credentials',
    hints: ['basic'],
    pattern: String.raw`([Bb][Aa][Ss][Ii][Cc](?: +|%20|\+))(?=[a-z]{0,64}[A-Z0-9+/=])[A-Za-z0-9+/_=-]{6,}`,
    replacement: `$1${redacted}`,
  },
  {
    name: 'API key or event token of ours',
    hints: ['ava_'],
    pattern: '(ava_(?:live|evt)_)[0-9A-Za-z_-]+',
    replacement: `$1${redacted}`,
  },
  {
    name: 'token with a well-known beginning',
    hints: ['hf_', 'rpa_', 'whsec_'],
    pattern: `${begin}(hf_|rpa_|whsec_)[0-9A-Za-z+/_=-]{8,}`,
    replacement: `$1${redacted}`,
  },
  {
    name: 'AWS key id',
    hints: ['akia', 'asia'],
    pattern: `${begin}(A[KS]IA)[0-9A-Z]{16}`,
    replacement: `$1${redacted}`,
  },
  {
    name: 'nkey seed',
    hints: [],
    pattern: '(S[UANOCX])[A-Z2-7]{56}',
    replacement: `$1${redacted}`,
  },
  {
    name: 'JSON Web Token',
    hints: ['eyj'],
    pattern: String.raw`(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))(eyJ)[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?`,
    replacement: `$1${redacted}`,
  },
  {
    name: 'PEM block',
    hints: ['-----begin '],
    pattern: String.raw`(-----BEGIN [A-Z0-9 ]{1,48}-----)(?:[^"\\-]|\\[^"]|-(?!----))+`,
    replacement: `$1${redacted}`,
  },
  {
    name: 'chat hook',
    hints: ['hook', '/bot'],
    pattern: String.raw`((?:hooks\.[a-z0-9.-]{1,64}/|/hooks/|webhooks?b?2?/|/bot))[A-Za-z0-9_:@./-]{6,}`,
    ignoresCase: true,
    replacement: `$1${redacted}`,
  },
]
