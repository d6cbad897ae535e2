import { redacted, secretShapes } from '@avatar/contracts'
import type { GeneratedFiles } from './generated-files.ts'
import { formatted } from './python-contracts.ts'

const path = 'inference-sidecar/src/inference_sidecar/foundation/secret_shapes.py'

/** What secrets look like, in Python. */
export function writePythonSecrets(): GeneratedFiles {
  const rows = secretShapes.map(({ name, hints, pattern, ignoresCase, replacement }) => {
    const tuple = [
      `(${hints.map((hint) => `${text(hint)},`).join(' ')})`,
      text(pattern),
      ignoresCase ? 'True' : 'False',
      text(replacement.replaceAll('$1', '\\g<1>')),
    ]
    return `    # ${name}\n    (${tuple.join(', ')}),`
  })
  const source = `
"""What secrets look like.

Generated from \`contracts/src/secrets.ts\` by \`npm run generate\`. Do not edit.
"""

# ruff: noqa: E501 - a pattern is one string

from __future__ import annotations

from typing import Final

REDACTED: Final = ${text(redacted)}
"""What stands for a secret."""

SECRET_SHAPES: Final[tuple[tuple[tuple[str, ...], str, bool, str], ...]] = (
${rows.join('\n')}
)
"""Hints, of which one stands in every text that the pattern matches; the pattern, for \`re.ASCII\`;
whether it ignores case; what it is replaced by."""
`
  return { [path]: formatted(source.trimStart()) }
}

/** JSON strings without control characters are Python strings too. */
function text(value: string): string {
  return JSON.stringify(value)
}
