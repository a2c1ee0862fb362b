"""Where training keeps what it makes between its steps, and what of it is shipped."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from webui.tiny.text import FIRST_WORD, Tokenizer
from webui.tiny.train.networks import Decoder, Denoiser, Shape
from webui.tiny.train.scenes import SYNONYMS, WORDS

FORMAT = "darkroom-tiny-1"
"""Names the architecture; the engine refuses any other."""


def tokenizer(shape: Shape) -> Tokenizer:
    """The words that captions use, and their synonyms."""
    vocabulary = {word: FIRST_WORD + number for number, word in enumerate(WORDS)}
    return Tokenizer(vocabulary | {word: vocabulary[meaning] for word, meaning in SYNONYMS.items()}, shape.tokens)


def save(state: Mapping[str, object], path: Path) -> None:
    """Writes atomically, so that an interrupted run leaves the last whole state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def export(denoiser: Mapping[str, Tensor], decoder: Mapping[str, Tensor], shape: Shape, path: Path) -> None:
    """Writes the checkpoint that the engine loads: half precision, vocabulary and sizes in the metadata."""
    Denoiser(shape, tokenizer(shape).size).load_state_dict(denoiser)
    Decoder(shape).load_state_dict(decoder)
    tensors = {f"denoiser.{name}": tensor for name, tensor in denoiser.items()}
    tensors |= {f"decoder.{name}": tensor for name, tensor in decoder.items()}
    metadata = {
        "format": FORMAT,
        "shape": json.dumps(shape.metadata()),
        "vocabulary": json.dumps(dict(tokenizer(shape).vocabulary)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, path, metadata)
    path.chmod(0o644)  # it comes readable for its owner alone
