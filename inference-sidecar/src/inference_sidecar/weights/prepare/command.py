"""`prepare`: makes the files that the engine maps into memory from the fetched ones."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from inference_sidecar.engines.infinitetalk.checkpoints.layout import (
    MissingWeights,
    PublishedLayout,
)
from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import (
    AUDIO_MULTI,
    TRANSFORMER,
    MergedLora,
    Precision,
    ResidentFile,
    ResidentFolder,
    ResidentInfo,
)
from inference_sidecar.engines.infinitetalk.native.fp8 import Granularity
from inference_sidecar.engines.infinitetalk.recipes import (
    RECIPE_NAMES,
    RecipeName,
    RecipeUnknown,
    recipe_of,
)
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.hashes import sha256_of
from inference_sidecar.weights.manifest import read_manifest
from inference_sidecar.weights.pins import Pins
from inference_sidecar.weights.prepare.components import (
    COMPONENTS,
    ComponentName,
    write_component,
    write_tokenizer,
)
from inference_sidecar.weights.prepare.components import write_voice as write_voice_folder
from inference_sidecar.weights.prepare.lora import Lora, read_lora, require_untouched
from inference_sidecar.weights.prepare.sources import Source, read_sources
from inference_sidecar.weights.prepare.transformer import Conversion, write_transformer
from inference_sidecar.weights.progress import Progress
from inference_sidecar.weights.volume import locked, require_volume


def prepare(folder: Path, arguments: Namespace) -> int:
    """The command; returns its exit status."""
    _preparation(folder, arguments).run()
    return 0


@dataclass
class Preparation:
    """One run of `prepare` over a weights folder.

    loras: files with their strength; None takes those of the manifest.
    recipe: how the transformer is to be sampled; None takes what is known of the LoRAs.
    """

    folder: Path
    precisions: tuple[Precision, ...] = ("fp8",)
    granularity: Granularity = Granularity.ROW
    loras: tuple[tuple[Path, float], ...] | None = None
    recipe: RecipeName | None = None
    device: str = "cpu"
    has_transformer: bool = True
    has_encoders: bool = True

    def __post_init__(self) -> None:
        self.folder = require_volume(self.folder)
        self._layout = PublishedLayout(self.folder)
        self._resident = ResidentFolder(self.folder)
        self._hashes: dict[Path, str] = {}

    def run(self) -> None:
        """Makes every missing file. Raises `WeightsError`."""
        with locked(self.folder, lambda: _say("Another process uses the folder; waiting.")):
            self._pins = Pins(self.folder)
            try:
                if self.has_encoders:
                    self._make_encoders()
                if self.has_transformer:
                    self._make_transformers()
                    if self._layout.has_multi:
                        self._make_multi()
            except MissingWeights as cause:
                raise WeightsError(
                    f"{cause} Run `python -m inference_sidecar.weights fetch`."
                ) from cause

    def _make_encoders(self) -> None:
        published: Mapping[ComponentName, Path] = {
            "text": self._layout.text_weights,
            "image": self._layout.image_weights,
            "codec": self._layout.codec_weights,
        }
        for name, source in published.items():
            component = COMPONENTS[name]
            info = self._info(name, component.precision, [source])
            write = partial(write_component, component=component, info=info)
            self._make(self._resident.path / f"{name}.safetensors", [source], info, write)
        write_tokenizer(self._layout.tokenizer, self._resident.path / "tokenizer")
        write_voice_folder(self._layout.voice, self._resident.path / "voice")

    def _make_transformers(self) -> None:
        files = self._layout.transformer_files
        sources = read_sources(files)
        shapes = {name: source.shape for name, source in sources.items()}
        loras = [self._read_lora(path, scale, shapes) for path, scale in self._loras()]
        # The audio branch's file may hold tensors of the base too.
        audio_branch = sources.keys() - read_sources(files[:-1]).keys()
        for lora in loras:
            require_untouched(lora, audio_branch)
        recipe = self.recipe or _recipe_of([lora.merged for lora in loras])
        for precision in self.precisions:
            conversion = Conversion(precision, self.granularity, torch.device(self.device))
            info = self._info(
                TRANSFORMER,
                conversion.name,
                files,
                loras=tuple(lora.merged for lora in loras),
                config=self._layout.transformer_config,
                recipe=recipe,
                audio_branch="bf16" if precision == "fp8" else None,
            )

            write = partial(write_transformer, loras=loras, conversion=conversion, info=info)
            self._make(self._resident.transformer_path(precision), files, info, write)

    def _make_multi(self) -> None:
        """The audio branch for two voices, where it was fetched. LoRAs leave it alone."""
        multi = self._layout.multi
        kept: set[Precision] = {"bf16" if each == "fp8" else each for each in self.precisions}
        for precision in sorted(kept):
            conversion = Conversion(precision, self.granularity, torch.device(self.device))
            info = self._info(AUDIO_MULTI, conversion.name, [multi])
            write = partial(write_transformer, loras=(), conversion=conversion, info=info)
            self._make(self._resident.multi_path(precision), [multi], info, write)

    def _make(
        self,
        path: Path,
        files: Sequence[Path],
        info: ResidentInfo,
        write: Callable[[Path, Mapping[str, Source], Callable[[int], None]], str],
    ) -> None:
        """Writes a file unless one with the same fingerprint exists."""
        if _is_made(path, info):
            _say(f"{path.name}: is in place")
            return
        sources = read_sources(files)
        total = sum(source.size_bytes for source in sources.values())
        progress = Progress(f"Reading for {path.name}", total, sys.stderr)
        sha256 = write(path, sources, progress.add)
        progress.close()
        self._pins.record_resident(path, sha256)
        _say(f"{path.name}: {path.stat().st_size / 1e9:.2f} GB, {info.fingerprint[:12]}")

    def _info(
        self,
        part: str,
        precision: str,
        files: Sequence[Path],
        loras: tuple[MergedLora, ...] = (),
        config: Mapping[str, object] | None = None,
        recipe: RecipeName | None = None,
        audio_branch: str | None = None,
    ) -> ResidentInfo:
        return ResidentInfo(
            part=part,
            precision=precision,
            sources={str(file.relative_to(self.folder)): self._sha256(file) for file in files},
            code=version("inference-sidecar"),
            loras=loras,
            config=config or {},
            recipe=recipe,
            audio_branch=audio_branch,
        )

    def _loras(self) -> Sequence[tuple[Path, float]]:
        if self.loras is not None:
            return self.loras
        locals_ = [file.local for file in read_manifest() if file.local.startswith("loras/")]
        for local in locals_:
            if not (self.folder / local).is_file():
                raise WeightsError(
                    f"{self.folder / local} is missing: run `python -m inference_sidecar.weights"
                    " fetch`, or name another with --lora, or none with --no-lora."
                )
        return [(self.folder / local, 1.0) for local in locals_]

    def _read_lora(self, path: Path, scale: float, shapes: Mapping[str, tuple[int, ...]]) -> Lora:
        if not path.is_file():
            raise WeightsError(f"There is no LoRA {path}.")
        return read_lora(path, self._sha256(path), scale, shapes)

    def _sha256(self, path: Path) -> str:
        """From the record if the file is unchanged; otherwise reads the file."""
        if path not in self._hashes:
            known = self._pins.known_sha256(path)
            if known is None:
                _say(f"{path.name}: has no recorded sha256; reading it")
            self._hashes[path] = known or sha256_of(path)
        return self._hashes[path]


def _recipe_of(loras: Sequence[MergedLora]) -> RecipeName:
    try:
        return recipe_of({lora.name: lora.sha256 for lora in loras})
    except RecipeUnknown as cause:
        names = ", ".join(RECIPE_NAMES)
        raise WeightsError(
            f"The transformer cannot be prepared: {cause}. Say it with --recipe ({names}); a LoRA"
            " sampled at other noise levels than it was trained at gives a worse picture, without"
            " any error."
        ) from cause


def _is_made(path: Path, info: ResidentInfo) -> bool:
    try:
        return ResidentFile(path).info.fingerprint == info.fingerprint
    except WeightsError:
        return False


def _preparation(folder: Path, arguments: Namespace) -> Preparation:
    scales: list[float] = arguments.lora_scale or [1.0]
    paths: list[Path] = arguments.lora or []
    if len(scales) == 1:
        scales = scales * max(len(paths), 1)
    if arguments.no_lora and paths:
        raise WeightsError("--lora and --no-lora contradict each other: give one of them.")
    if paths and len(scales) != len(paths):
        raise WeightsError(
            f"{len(paths)} LoRAs need one --lora-scale or one for each, not {len(scales)}."
        )
    loras: tuple[tuple[Path, float], ...] | None = None
    if paths or arguments.no_lora:
        loras = tuple(zip(paths, scales, strict=False))
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Preparation(
        folder,
        precisions=tuple(arguments.precision),
        granularity=Granularity(arguments.fp8_scale),
        loras=loras,
        recipe=arguments.recipe,
        device=device,
        has_transformer=arguments.only != "encoders",
        has_encoders=arguments.only != "transformer",
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
