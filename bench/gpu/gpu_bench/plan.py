"""The sections of the benchmark, their order and their time limits."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gpu_bench.ceilings import Ceilings
from gpu_bench.chunks import ChunkBench
from gpu_bench.codec import CodecBench, make_codec
from gpu_bench.encoders import EncoderBench, make_image_encoder
from gpu_bench.forwards import ForwardBench
from gpu_bench.kernels import KernelBench
from gpu_bench.measure import Budget, Device
from gpu_bench.options import Options
from gpu_bench.points import PointBench
from gpu_bench.scale import FULL, TINY
from gpu_bench.table import Row, Table
from gpu_bench.weights import build, first_layers, transformer_weights
from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import Models

_FEW_LAYERS = 8

Say = Callable[[str], None]


def run_plan(options: Options, table: Table, failures: list[str], say: Say) -> None:
    """Runs all sections. A failed one is reported in `failures` and does not stop the others."""
    plan = _Plan(options, table, say)
    for name, seconds, section in plan.sections():
        if plan.budget.left <= 0:
            say(f"{name}: no time left")
        began = time.monotonic()
        try:
            section(plan.budget.share(seconds))
        except ModuleNotFoundError as error:
            table.skip("-", name, f"needs the wheel of {error.name} (--wheels DIR)")
        except Exception as error:  # noqa: BLE001 - the table must be printed whatever happens
            failures.append(f"{name}: {type(error).__name__}: {error}")
            say(traceback.format_exc())
        say(f"{name}: {time.monotonic() - began:.0f} s")


class _Plan:
    """The sections, and what they share: ceilings, weights and models."""

    def __init__(self, options: Options, table: Table, say: Say) -> None:
        self._options = options
        self._table = table
        self._say = say
        self._scale = TINY if options.is_tiny else FULL
        if options.is_tiny:
            # Work this small is faster on one thread than distributed over several.
            torch.set_num_threads(1)
        self._device = Device(options.device)
        self._dtype = torch.bfloat16 if self._device.is_cuda else torch.float32
        ceilings = Ceilings(is_meaningful=not options.is_tiny)
        self._shared = (self._device, self._scale, table, ceilings)
        self._kernels = KernelBench(*self._shared)
        self._forwards = ForwardBench(*self._shared)
        self._codecs = CodecBench(*self._shared)
        self._weights: dict[str, Tensor] = {}
        self.budget = Budget.of(options.budget_seconds)
        table.facts["scale"] = self._scale.name

    def sections(self) -> list[tuple[str, float, Callable[[Budget], None]]]:
        """Name, time limit in seconds, and function; the smaller size comes first, as the more
        used."""
        if self._options.only_points:
            return [("weights", 60, self._make_weights), *self._points()]
        return [
            ("B0 matrix products", 40, self._kernels.matmuls),
            ("B1 attention", 60, self._kernels.attention),
            ("weights", 60, self._make_weights),
            ("B3, B2, B5 at the smaller size", 130, self._small_forwards),
            ("B4 and B6 to B8 at the smaller size", 230, self._small_fp8),
            ("B3, B4 at the larger size", 240, self._large_forwards),
            ("B6 at the larger size", 50, self._large_codec),
            ("B9 encoders", 60, self._encoders),
            ("B5 at the larger size", 150, self._large_upstream),
        ]

    def _points(self) -> Iterator[tuple[str, float, Callable[[Budget], None]]]:
        # Its weights exist once the section before has run.
        points = PointBench(*self._shared, weights=self._weights, dtype=self._dtype)
        return points.sections()

    def _make_weights(self, _budget: Budget) -> None:
        seconds = self._device.time(self._fill)
        bytes_of_all = sum(tensor.nbytes for tensor in self._weights.values())
        values = sum(tensor.numel() for tensor in self._weights.values())
        self._table.add(
            Row(
                "-",
                f"{values / 1e9:.2f} B random weights created on the device",
                (seconds,),
                note=f"{bytes_of_all / 1e9:.1f} GB",
            )
        )

    def _fill(self) -> None:
        self._weights |= transformer_weights(self._device, self._scale, self._dtype)

    def _small_forwards(self, budget: Budget) -> None:
        small = self._scale.sizes[0]
        whole = NativeDenoiser(build(self._weights, self._scale, "bf16", self._dtype))
        self._forwards.native("B3", whole, "bf16", small, budget)
        layers = min(_FEW_LAYERS, self._scale.shape.layers - 1)
        few = build(first_layers(self._weights, layers), self._scale, "bf16", self._dtype)
        self._forwards.block(NativeDenoiser(few), layers, small, budget)
        self._upstream(small, budget)

    def _upstream(self, size: Size, budget: Budget) -> None:
        self._forwards.upstream(self._weights, self._options.upstream, size, budget)

    def _small_fp8(self, budget: Budget) -> None:
        small = self._scale.sizes[0]
        denoiser = NativeDenoiser(build(self._weights, self._scale, "fp8", self._dtype))
        self._forwards.native("B4", denoiser, "fp8", small, budget)
        chunks = ChunkBench(
            *self._shared,
            models=Models(
                denoiser,
                make_codec(self._device, self._scale, self._dtype),
                make_image_encoder(self._device, self._scale),
            ),
            precision="fp8",
            size=small,
            forward_seconds=self._forwards.seconds.get(("fp8", small)),
        )
        chunks.in_a_row(budget)
        chunks.cancel(budget)
        chunks.between_jobs(budget)
        self._codecs.measure(small, budget)

    def _large_forwards(self, budget: Budget) -> None:
        large = self._scale.sizes[1]
        for case, precision in (("B4", "fp8"), ("B3", "bf16")):
            dit = build(self._weights, self._scale, precision, self._dtype)
            self._forwards.native(case, NativeDenoiser(dit), precision, large, budget)
            del dit
            self._device.release_unused()

    def _large_codec(self, budget: Budget) -> None:
        self._codecs.measure(self._scale.sizes[1], budget, is_brief=True)

    def _large_upstream(self, budget: Budget) -> None:
        self._upstream(self._scale.sizes[1], budget)

    def _encoders(self, budget: Budget) -> None:
        encoders = EncoderBench(*self._shared)
        encoders.measure_all(make_image_encoder(self._device, self._scale), budget)
