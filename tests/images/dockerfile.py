"""Dockerfiles, as far as the tests need to understand them."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile's instructions, in order: name and arguments, continued lines joined."""

    path: Path
    instructions: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return the arguments of each instruction of this name."""
        return [arguments for instruction, arguments in self.instructions if instruction == name]

    def last(self, name: str) -> list[str]:
        """Return the last exec form of `ENTRYPOINT` or `CMD`; it must not be a shell's."""
        found = self.all(name)
        words: list[str] = json.loads(found[-1]) if found else []
        return words

    @property
    def context(self) -> list[tuple[str, str]]:
        """What is copied from the build context into which place, in all stages."""
        copies = [shlex.split(arguments) for arguments in self.all("COPY")]
        return [(source, words[-1]) for words in copies if not words[0].startswith("--") for source in words[:-1]]


def read(path: Path) -> Dockerfile:
    """Return what is in a Dockerfile."""
    return parse(path, path.read_text())


def parse(path: Path, text: str) -> Dockerfile:
    """Return what is in the text of a Dockerfile."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return Dockerfile(path, [(word, rest.strip()) for word, _, rest in (it.partition(" ") for it in lines if it)])
