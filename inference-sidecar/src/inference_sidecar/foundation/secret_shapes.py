"""What secrets look like.

Generated from `contracts/src/secrets.ts` by `npm run generate`. Do not edit.
"""

# ruff: noqa: E501 - a pattern is one string

from __future__ import annotations

from typing import Final

REDACTED: Final = "[redacted]"
"""What stands for a secret."""

SECRET_SHAPES: Final[tuple[tuple[tuple[str, ...], str, bool, str], ...]] = (
    # password in a URL, slashes included
    (
        ("://",),
        "(://[^:/@ \"'<>\\t\\r\\n]{0,64}:)(?:[^@ \"'<>\\t\\r\\n]{1,256}@)+",
        False,
        "\\g<1>[redacted]@",
    ),
    # query of a URL, presigned or not
    (
        ("://",),
        "(://[^/? \"'<>\\\\\\t\\r\\n]{1,512}(?:/[^:? \"'<>\\\\\\t\\r\\n]{0,2048})?\\?)[^ \"'<>\\\\\\t\\r\\n]+",
        False,
        "\\g<1>[redacted]",
    ),
    # presigned query without its URL
    (
        ("x-amz-",),
        "(\\?)(?=[^? \"'<>\\\\\\t\\r\\n]{0,2048}x-amz-(?:signature|credential|security-token)(?:=|%3D))[^ \"'<>\\\\\\t\\r\\n]+",
        True,
        "\\g<1>[redacted]",
    ),
    # rest of a presigned query
    (
        ("x-amz-",),
        "(x-amz-(?:signature|credential|security-token)(?:=|%3D))[^ \"'<>\\\\\\t\\r\\n]+",
        True,
        "\\g<1>[redacted]",
    ),
    # header of a request, as text
    (
        (
            "auth",
            "key",
        ),
        "((?:authorization|x-api-key|x-auth-token) ?: ?)[^\"'\\\\<>\\r\\n]+",
        True,
        "\\g<1>[redacted]",
    ),
    # header of a request, in a list of names and values
    (
        (
            "auth",
            "key",
            "cookie",
        ),
        '((?:authorization|x-api-key|x-auth-token|cookie)\\\\{0,3}", ?\\\\{0,3}")(?:[^"\\\\]|\\\\[^"\\r\\n])+',
        True,
        "\\g<1>[redacted]",
    ),
    # value in quotes under the name of a secret
    (
        (
            "pass",
            "secret",
            "token",
            "credential",
            "cookie",
            "auth",
            "key",
        ),
        '((?=[ackpst])(?:(?:passw(?:or)?d|passphrase|secret|token|credential|cookie|authorization|(?:api|access|private|signing)[_-]?key)[A-Za-z0-9_-]{0,32}|key)"? ?[:=] ?")(?!jobs/|intake/)(?:[^"\\\\]|\\\\[^\\r\\n])+',
        True,
        "\\g<1>[redacted]",
    ),
    # value under the name of a secret, in JSON within a JSON string
    (
        (
            "pass",
            "secret",
            "token",
            "credential",
            "cookie",
            "auth",
            "key",
        ),
        '((?=[ackpst])(?:(?:passw(?:or)?d|passphrase|secret|token|credential|cookie|authorization|(?:api|access|private|signing)[_-]?key)[A-Za-z0-9_-]{0,32}|key)(?:\\\\{1,3}")? ?[:=] ?\\\\{1,3}")(?!jobs/|intake/)(?:[^"\\\\]|\\\\[^"\\\\]|\\\\\\\\(?:\\\\[^\\r\\n])?)+',
        True,
        "\\g<1>[redacted]",
    ),
    # value in single quotes under the name of a secret
    (
        ("'",),
        "((?=[ackpst])(?:(?:passw(?:or)?d|passphrase|secret|token|credential|cookie|authorization|(?:api|access|private|signing)[_-]?key)[A-Za-z0-9_-]{0,32}|key)'? ?[:=] ?')(?!jobs/|intake/)(?:[^'\"\\\\]|\\\\[^\\r\\n])+",
        True,
        "\\g<1>[redacted]",
    ),
    # variable of an environment
    (
        ("=",),
        "((?=[ackpst])(?:(?:passw(?:or)?d|passphrase|secret|token|credential|cookie|authorization|(?:api|access|private|signing)[_-]?key)[A-Za-z0-9_-]{0,32}|key)=)(?!jobs/|intake/)(?:[^ \"'\\\\<>\\t\\r\\n]|\\\\\\\\)+",
        True,
        "\\g<1>[redacted]",
    ),
    # bearer token
    (("bearer",), "(bearer(?: +|%20|\\+))[^ \"'\\\\<>\\t\\r\\n]+", True, "\\g<1>[redacted]"),
    # basic credentials
    (
        ("basic",),
        "([Bb][Aa][Ss][Ii][Cc](?: +|%20|\\+))(?=[a-z]{0,64}[A-Z0-9+/=])[A-Za-z0-9+/_=-]{6,}",
        False,
        "\\g<1>[redacted]",
    ),
    # API key or event token of ours
    (("ava_",), "(ava_(?:live|evt)_)[0-9A-Za-z_-]+", False, "\\g<1>[redacted]"),
    # token with a well-known beginning
    (
        (
            "hf_",
            "rpa_",
            "whsec_",
        ),
        "(?:\\b|(?<=\\\\[nrt]))(hf_|rpa_|whsec_)[0-9A-Za-z+/_=-]{8,}",
        False,
        "\\g<1>[redacted]",
    ),
    # AWS key id
    (
        (
            "akia",
            "asia",
        ),
        "(?:\\b|(?<=\\\\[nrt]))(A[KS]IA)[0-9A-Z]{16}",
        False,
        "\\g<1>[redacted]",
    ),
    # nkey seed
    ((), "(S[UANOCX])[A-Z2-7]{56}", False, "\\g<1>[redacted]"),
    # JSON Web Token
    (
        ("eyj",),
        "(?:(?<![A-Za-z0-9_-])|(?<=\\\\[nrt]))(eyJ)[A-Za-z0-9_-]{5,}\\.[A-Za-z0-9_-]{5,}(?:\\.[A-Za-z0-9_-]*)?",
        False,
        "\\g<1>[redacted]",
    ),
    # PEM block
    (
        ("-----begin ",),
        '(-----BEGIN [A-Z0-9 ]{1,48}-----)(?:[^"\\\\-]|\\\\[^"]|-(?!----))+',
        False,
        "\\g<1>[redacted]",
    ),
    # chat hook
    (
        (
            "hook",
            "/bot",
        ),
        "((?:hooks\\.[a-z0-9.-]{1,64}/|/hooks/|webhooks?b?2?/|/bot))[A-Za-z0-9_:@./-]{6,}",
        True,
        "\\g<1>[redacted]",
    ),
)
"""Hints, of which one stands in every text that the pattern matches; the pattern, for `re.ASCII`;
whether it ignores case; what it is replaced by."""
