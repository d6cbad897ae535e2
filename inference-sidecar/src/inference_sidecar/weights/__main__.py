"""The command `python -m inference_sidecar.weights fetch|verify|prepare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from inference_sidecar.engines.infinitetalk.recipes import RECIPE_NAMES
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.foundation.settings import Settings, mistakes_of
from inference_sidecar.weights.fetch import fetch
from inference_sidecar.weights.hub import HUB, Hub
from inference_sidecar.weights.manifest import MAIN_PART, WeightFile, read_manifest
from inference_sidecar.weights.verify import State, table, verify

_INTERRUPTED: Final = 130


class WeightsSettings(Settings):
    """The environment of these commands, and the only source of the token."""

    model_config = SettingsConfigDict(extra="ignore")

    model_storage_path: Path | None = Field(default=None, description="folder of the weights")
    hf_token: SecretStr | None = Field(default=None, description="sent to the hub only")
    hf_endpoint: str = Field(default=HUB, description="the hub, or a mirror with the same API")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, _settings())
    except WeightsError as error:
        sys.stderr.write(f"weights: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("weights: stopped; what has arrived is kept.\n")
        return _INTERRUPTED


def _settings() -> WeightsSettings:
    """The environment. Raises `WeightsError` with everything that is wrong with it."""
    try:
        return WeightsSettings()
    except ValidationError as error:
        raise WeightsError("; ".join(mistakes_of(error))) from None


def _run(options: argparse.Namespace, settings: WeightsSettings) -> int:
    folder: Path | None = options.dir or settings.model_storage_path
    if folder is None:
        raise WeightsError("Where are the weights? Set MODEL_STORAGE_PATH or give --dir.")
    if options.command == "prepare":
        # Imports torch, which the other commands do without.
        from inference_sidecar.weights.prepare.command import prepare  # noqa: PLC0415

        return prepare(folder, options)
    files = read_manifest(options.manifest, [MAIN_PART, *options.parts])
    if options.command == "verify":
        return _verify(folder, files, options)
    return _fetch(folder, files, options, settings)


def _fetch(
    folder: Path,
    files: Sequence[WeightFile],
    options: argparse.Namespace,
    settings: WeightsSettings,
) -> int:
    token = settings.hf_token
    secret = token.get_secret_value() if token else None
    with Hub(options.base or settings.hf_endpoint, secret) as hub:
        done = fetch(folder, files, hub, sys.stderr, parallel=options.parallel)
    count = done.present + done.downloaded
    sys.stdout.write(
        f"{count} files, {done.size / 1e9:.1f} GB, are in place ({done.downloaded} came now).\n"
    )
    return 0


def _verify(folder: Path, files: Sequence[WeightFile], options: argparse.Namespace) -> int:
    findings = verify(folder, files, reads_content=not options.sizes_only)
    sys.stdout.write(f"{table(findings)}\n")
    wrong = [finding for finding in findings if finding.state is not State.OK]
    if wrong:
        raise WeightsError(
            f"{len(wrong)} files are not as pinned: `fetch` brings what is missing or wrong and"
            " pins what is not."
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inference_sidecar.weights",
        description="Fetches, verifies and prepares the weights of the infinitetalk engine.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("fetch", "download missing files, resumable, each verified by its hash"),
        ("verify", "compare sizes and hashes of all files with their pins"),
        ("prepare", "merge the LoRA and write the files that the engine maps into memory"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--dir", type=Path, help="folder of the weights (MODEL_STORAGE_PATH)")
        if name == "prepare":
            _add_prepare_options(command)
            continue
        command.add_argument("--manifest", type=Path, help="instead of the packaged manifest")
        command.add_argument(
            "--with",
            dest="parts",
            type=lambda names: [part for part in names.split(",") if part],
            default=[],
            help="optional parts too: multi, reference",
        )
    _add_fetch_options(commands.choices["fetch"])
    commands.choices["verify"].add_argument(
        "--sizes-only", action="store_true", help="do not read the files"
    )
    return parser


def _add_fetch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--from", dest="base", help="the hub or a mirror of it (HF_ENDPOINT)")
    command.add_argument(
        "--parallel", type=int, choices=range(1, 17), default=4, help="files at a time"
    )


def _add_prepare_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precision",
        type=_precisions,
        default=["fp8"],
        help="of the linear layers: fp8 (default), bf16, fp32, or several with commas",
    )
    command.add_argument(
        "--fp8-scale",
        choices=["row", "tensor"],
        default="row",
        help="how many values share a scale",
    )
    command.add_argument(
        "--lora",
        type=Path,
        action="append",
        help="safetensors file to merge, instead of the manifest's; may be given more than once",
    )
    command.add_argument(
        "--lora-scale",
        type=float,
        action="append",
        help="its strength, 1 by default; one for all, or one for each",
    )
    command.add_argument("--no-lora", action="store_true", help="merge none")
    command.add_argument(
        "--recipe",
        choices=RECIPE_NAMES,
        help="how the result is to be sampled; needed for a LoRA that is not the manifest's",
    )
    command.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where to compute; the files are the same up to rounding",
    )
    command.add_argument("--only", choices=["transformer", "encoders"], help="make one half")


def _precisions(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - {"fp8", "bf16", "fp32"}:
        raise argparse.ArgumentTypeError(f"no precision: {', '.join(sorted(unknown))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
