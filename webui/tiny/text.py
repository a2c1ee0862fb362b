"""Prompts as token ids: one token for each word that the model knows, and none for any other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING, START = 0, 1
FIRST_WORD = 2
"""Ids below this one are not words."""

# What other servers' prompts carry besides words: <lora:name:1>, and weights as in (red:1.2), of which the word stays.
EXTRA_NETWORK = re.compile(r"<[^>]*>")
WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Tokenizer:
    """`vocabulary` gives each known word's id; a prompt longer than `length` tokens loses its end."""

    vocabulary: Mapping[str, int]
    length: int

    @property
    def size(self) -> int:
        """How many different ids there are."""
        return max(self.vocabulary.values()) + 1

    def encode(self, prompt: str) -> list[int]:
        """Ids of one prompt, the start token first, without padding."""
        words = WORD.findall(EXTRA_NETWORK.sub(" ", prompt.lower()))
        return [START, *(self.vocabulary[word] for word in words if word in self.vocabulary)][: self.length]

    def batch(self, prompts: list[str]) -> NDArray[np.int64]:
        """Ids of several prompts, padded at the end to the longest of them: (n, t)."""
        rows = [self.encode(prompt) for prompt in prompts]
        ids = np.full((len(rows), max(map(len, rows))), PADDING, np.int64)
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = row
        return ids
