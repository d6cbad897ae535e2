"""The parent's end of the socket pair, with a render child in a thread behind the other one."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from inference_sidecar.engines.engine import Engine, RenderRequest, Size
from inference_sidecar.engines.null.engine import NullEngine
from inference_sidecar.engines.null.settings import NullSettings
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.rendering.render_child import RenderChild
from inference_sidecar.rendering.render_protocol import (
    CHILD_LINES,
    FailedLine,
    KeptLine,
    Lines,
    LoadingLine,
    NotLoadedLine,
    OrderLine,
    PlannedLine,
    ProgressLine,
    ReadyLine,
    RenderOrderLine,
    StageBegunLine,
    StageLine,
    StartedLine,
    StopLine,
    StoppedLine,
    TakenLine,
)
from stage.orchestrator import wav


class Parent:
    """The other end of the socket pair."""

    def __init__(self, tmp_path: Path, engine: Engine | None = None) -> None:
        self._folder = tmp_path
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._reader = ours.makefile("rb")
        self.is_gone = threading.Event()
        self.taken: list[int] = []
        self.sizes: list[str] = []
        self.are_cut: list[bool] = []
        self.stages: list[StageBegunLine | StageLine] = []
        self.loaded: list[float] = []
        self._lines = Lines(theirs.detach())
        child = RenderChild(self._lines, engine or NullEngine(NullSettings()), find_ffmpeg())
        self._thread = threading.Thread(target=child.serve, args=(self.is_gone.set,))
        self._thread.start()
        (tmp_path / "image").write_bytes(b"not looked at")
        (tmp_path / "audio").write_bytes(wav(2))

    def order(
        self,
        number: int,
        prompt: str = "",
        frames: int = 50,
        *,
        folder: str = "",
        seed: int = 1,
        started_at_ms: int | None = None,
        are_stages_wanted: bool = True,
    ) -> None:
        request = RenderRequest(
            job_id="j",
            image=self._folder / "image",
            audio=self._folder / "audio",
            prompt=prompt,
            seed=seed,
            delivery=Size(1280, 720),
            frames=frames,
        )
        output = self._folder / folder / f"{number}.mp4"
        output.parent.mkdir(exist_ok=True)
        line = RenderOrderLine(
            order=number,
            request=request,
            output=output,
            started_at_ms=started_at_ms,
            are_stages_wanted=are_stages_wanted,
        )
        self._socket.sendall(line.to_json() + b"\n")

    def stop(self, number: int) -> None:
        self._socket.sendall(StopLine(order=number).to_json() + b"\n")

    def receive_kept(self) -> int:
        while not isinstance(line := self.receive(), KeptLine):
            assert isinstance(line, StartedLine | ProgressLine)
        return line.chunks

    def stop_after_keeping(self, number: int, folder: Path) -> int:
        """Stops an order once a piece of it is safe; returns how many chunks are."""
        chunks = self.receive_kept()
        assert (folder / "pieces" / "kept").exists()
        self.stop(number)
        while not isinstance(line := self.receive(), StoppedLine):
            assert isinstance(line, ProgressLine | KeptLine)
            chunks = line.chunks if isinstance(line, KeptLine) else chunks
        return chunks

    def receive(self) -> ReadyLine | OrderLine:
        """The next line; acknowledgements go to `taken`, sizes to `sizes`, stages to `stages`."""
        while True:
            line = self._next_line()
            if isinstance(line, TakenLine):
                self.taken.append(line.order)
            elif isinstance(line, PlannedLine):
                self.sizes.append(line.size_class)
                self.are_cut.append(line.is_cut)
            elif isinstance(line, StageBegunLine | StageLine):
                self.stages.append(line)
            else:
                return line

    def _next_line(self) -> ReadyLine | OrderLine:
        while isinstance(line := CHILD_LINES.validate_json(self._reader.readline()), LoadingLine):
            self.loaded.append(line.loading.percent)
        assert not isinstance(line, NotLoadedLine)
        return line

    def receive_without_progress(self) -> ReadyLine | OrderLine:
        while isinstance(line := self.receive(), ProgressLine):
            pass
        return line

    def leave(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        assert self.is_gone.wait(5)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._reader.close()
        self._socket.close()
        self._lines.close()


def following(parent: Parent, kind: type[OrderLine]) -> OrderLine:
    """The next line of this kind; fails at a line that reports a failure."""
    while not isinstance(line := parent.receive(), kind):
        assert not isinstance(line, FailedLine | ReadyLine)
    return line


def order_lines(parent: Parent, count: int) -> list[OrderLine]:
    """The next lines about orders, without their progress."""
    lines: list[OrderLine] = []
    while len(lines) < count:
        line = parent.receive_without_progress()
        assert not isinstance(line, ReadyLine)
        lines.append(line)
    return lines


def following_failure(parent: Parent) -> None:
    """Waits until an order has failed."""
    while not isinstance(parent.receive(), FailedLine):
        pass
