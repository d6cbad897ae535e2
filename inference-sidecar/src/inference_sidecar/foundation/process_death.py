"""When a process dies: with its parent, on Linux, and with any of its threads."""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final

from inference_sidecar.foundation.last_words import say_last_words
from inference_sidecar.foundation.log import log_libraries

_PR_SET_PDEATHSIG: Final = 1
_EXIT_PARENT_GONE: Final = 111
_EXIT_UNCAUGHT: Final = 1
_THREAD_START_SECONDS: Final = 10


def end_at_uncaught_exceptions() -> None:
    """From here on an exception that nobody catches ends the process, in whatever thread it is.

    Without one of its threads a process would only seem to work. It ends with exit status 1 and at
    once: other threads are not waited for, and nothing is cleaned up. Its last words are a line of
    the log, and so is from here on whatever libraries say.
    """
    log_libraries()

    def end_main(
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,  # noqa: ARG001 - as Python calls it
    ) -> None:
        try:
            # What is no `Exception` asks for the end, as Ctrl-C does.
            if issubclass(kind, Exception):
                say_last_words(error, "sys.excepthook")
        finally:
            # Saying it may fail as well, for lack of memory.
            os._exit(_EXIT_UNCAUGHT)

    def end_thread(arguments: threading.ExceptHookArgs) -> None:
        try:
            say_last_words(arguments.exc_value, "threading.excepthook")
        finally:
            os._exit(_EXIT_UNCAUGHT)

    sys.excepthook = end_main
    threading.excepthook = end_thread
    start = _started_in_time(threading.Thread.start)
    threading.Thread.start = start  # pyright: ignore[reportAttributeAccessIssue] - a method
    # The threads of an executor log what ends them; nothing is raised.
    ends_process = _EndsProcess()
    ends_process.setLevel(logging.CRITICAL)
    logging.getLogger("concurrent.futures").addHandler(ends_process)


def _started_in_time(
    start: Callable[[threading.Thread], None],
) -> Callable[[threading.Thread], None]:
    """Bounds `Thread.start`, which waits for ever for a thread that has no memory to begin with."""

    def start_or_end(self: threading.Thread) -> None:
        # The kernel's timer needs neither memory nor a thread; its signal ends the process.
        signal.alarm(_THREAD_START_SECONDS)
        try:
            start(self)
        finally:
            signal.alarm(0)

    return start_or_end


class _EndsProcess(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            say_last_words(record.exc_info[1] if record.exc_info else None, record.name)
        finally:
            os._exit(_EXIT_UNCAUGHT)


def die_with_parent(parent_pid: int) -> None:
    """From here on the kernel kills this process when the thread that started it ends; on Linux.

    parent_pid: who started it; if that process is gone already, this one ends at once. The process
    asks for itself: in a `preexec_fn` Python would run between fork and exec of a process with
    threads, where any lock that another thread held stays locked for ever.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(_EXIT_PARENT_GONE)


def dying_with_us(command: Sequence[str]) -> list[str]:
    """The command of another program, run so that it dies with the thread that starts it.

    Only on Linux and with `setpriv` of util-linux; elsewhere the program has to notice by itself,
    as one does that reads its input from us. Raises `FileNotFoundError` without the program.
    """
    if shutil.which(command[0]) is None:
        # `setpriv` would start, and only its exit status would tell.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [*_setpriv(), *command]


@functools.cache
def _setpriv() -> tuple[str, ...]:
    path = shutil.which("setpriv")
    if sys.platform != "linux" or path is None:
        return ()
    prefix = (path, "--pdeathsig", "KILL")
    # The one of BusyBox has no such option.
    tried = subprocess.run([*prefix, path, "--version"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else ()
