"""Embeds prompts, with umT5 from transformers."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import ftfy
import regex
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from inference_sidecar.engines.infinitetalk.checkpoints.text_names import TextSizes, text_weights

TOKENS_VERSION: Final = "tokens-2"
"""Part of the key of cached embeddings. Version 1 read other tokens for characters that the
vocabulary does not have."""
_MAX_DISTANCE: Final = 128
"""Beyond it, all relative positions share one bucket. The tensors do not reveal this value."""


class UmT5:
    """`interfaces.TextEncoder`. The published encoder has 5.7 billion parameters.

    tokenizer: a folder with `tokenizer.json`.
    tokens: longer prompts are cut to this many, the transformer's text length.
    is_exact: embeds all texts as one padded batch, as upstream does. Padding is masked, so leaving
    it out changes only the last bits, and takes a tenth of the time for a typical prompt.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        tokenizer: Path,
        tokens: int,
        device: torch.device | str = "cpu",
        *,
        is_exact: bool = False,
    ) -> None:
        self._device = torch.device(device)
        self._tokens = tokens
        self._is_exact = is_exact
        self._tokenizer = read_tokenizer(tokenizer)
        self._model = _build(tensors).to(self._device)
        if is_exact:
            self._model.set_attn_implementation("eager")

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """See `interfaces.TextEncoder.embed`."""
        cleaned = [clean_prompt(text) for text in texts]
        if self._is_exact:
            return self._embed(cleaned, "max_length")
        return [embedded for text in cleaned for embedded in self._embed([text], "do_not_pad")]

    def _embed(self, texts: list[str], padding: str) -> list[Tensor]:
        batch = self._tokenizer(
            texts,
            return_tensors="pt",
            padding=padding,
            truncation=True,
            max_length=self._tokens,
            add_special_tokens=True,
        )
        mask = cast("Tensor", batch.attention_mask)
        output = self._model(
            input_ids=batch.input_ids.to(self._device), attention_mask=mask.to(self._device)
        )
        used = mask.sum(dim=1).tolist()
        hidden = cast("Tensor", output.last_hidden_state).float()
        return [one[:length] for one, length in zip(hidden, used, strict=True)]


def read_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - transformers is only partly typed
    """The tokenizer of `tokenizer.json` in a folder, as it stands there.

    The folder's configuration names the class `T5Tokenizer`, and transformers 5 makes that from the
    pieces alone: with another unknown token, and without the bytes into which umT5 takes apart what
    it does not know. An accent or an emoji then becomes the end of the text or nothing.
    """
    return cast("Any", PreTrainedTokenizerFast)(
        tokenizer_file=str(folder / "tokenizer.json"),
        pad_token="<pad>",  # noqa: S106 - a token of a vocabulary
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    )


def clean_prompt(text: str) -> str:
    """Repairs broken encodings and HTML entities, and collapses whitespace to single spaces."""
    repaired = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return regex.sub(r"\s+", " ", repaired).strip()


def _build(tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - transformers is only partly typed
    sizes = TextSizes.of(tensors)
    config = UMT5Config(
        vocab_size=sizes.vocabulary,
        d_model=sizes.width,
        d_kv=sizes.inner // sizes.heads,
        d_ff=sizes.hidden,
        num_layers=sizes.layers,
        num_heads=sizes.heads,
        relative_attention_num_buckets=sizes.buckets,
        relative_attention_max_distance=_MAX_DISTANCE,
        feed_forward_proj="gated-gelu",
        layer_norm_epsilon=1e-6,
        use_cache=False,
    )
    with torch.device("meta"):
        model = cast("Any", UMT5EncoderModel)(config)
    model.load_state_dict(text_weights(tensors), assign=True)
    return model.eval().requires_grad_(False)
