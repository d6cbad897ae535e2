"""What a prompt makes the `null` engine do, such as `null:seconds=2 null:crash`."""

from __future__ import annotations

from dataclasses import dataclass

_PREFIX = "null:"
_FLAGS = frozenset({"fail", "noface", "crash", "hang", "oom", "oom-always", "warn", "prepared"})


@dataclass(frozen=True)
class Directives:
    """seconds: how long the whole render takes. flags: which failures or warnings to simulate.

    The flag `prepared` asks for a video that was encoded before, if there is one as long: a
    benchmark of the services must not measure the encoder.
    """

    seconds: float = 0.0
    flags: frozenset[str] = frozenset()


def parse_directives(prompt: str) -> Directives:
    """Reads the words that begin with `null:` and ignores all others.

    Raises `ValueError` for an unknown directive: a test with a typing error must not pass.
    """
    seconds = 0.0
    flags: set[str] = set()
    for word in prompt.split():
        if not word.startswith(_PREFIX):
            continue
        name, _, value = word.removeprefix(_PREFIX).partition("=")
        if name == "seconds":
            seconds = float(value)
        elif name in _FLAGS and not value:
            flags.add(name)
        else:
            raise ValueError(f"The null engine knows no directive {word!r}.")
    return Directives(seconds, frozenset(flags))
