"""People copy commands from the documents; those commands are there."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CODE = re.compile(r"`([^`\n]+)`|^(?: {4,}|\$ )(\S.*)$", re.MULTILINE)


def commands() -> Iterator[tuple[str, str]]:
    for file in [*REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("[a-z]*/README.md")]:
        for found in CODE.finditer(file.read_text()):
            yield file.relative_to(REPOSITORY).as_posix(), found[1] or found[2]


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    quoted = [(file, name) for file, text in commands() for name in re.findall(r"^make ([a-z][a-z-]*)\b(?!=)", text)]
    assert ("docs/operations.md", "redrive") in quoted
    assert not [(file, name) for file, name in quoted if name not in targets]


def test_every_python_module_in_the_documents_exists() -> None:
    quoted = [(file, name) for file, text in commands() for name in re.findall(r"\bpython3? -m ([\w.]+)", text)]
    assert quoted
    assert not [(file, name) for file, name in quoted if not importlib.util.find_spec(name)]


def test_links_of_the_operators_documents_lead_somewhere() -> None:
    for name in ("operations.md", "migrating.md"):
        file = REPOSITORY / "docs" / name
        links = re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text())
        assert links
        assert not [link for link in links if not (file.parent / link).exists()]
