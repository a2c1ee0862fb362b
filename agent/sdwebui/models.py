"""Models (checkpoints) as the web UI lists them."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True)
class Model:
    """A checkpoint.

    Attributes:
        title: What the web UI wants to be told to load it.
        names: Everything that it is called, exactly: title, title without hash, model name, file, path, hashes.
        hash: Its short hash, if the web UI knows it.
    """

    title: str
    names: frozenset[str]
    hash: str | None = None

    def drew(self, info: dict[str, Any]) -> bool:
        """Return whether pictures with this `info` are of this model; a server that does not tell is believed."""
        told_hash, told_name = info.get("sd_model_hash"), info.get("sd_model_name")
        if told_hash and self.hash:
            return bool(told_hash == self.hash)
        return not told_name or not isinstance(told_name, str) or told_name in self.names


def models(entries: Any) -> list[Model]:
    """Return the models in an answer of `sd-models`."""
    return [_model(entry) for entry in entries if isinstance(entry, dict) and entry.get("title")]


def find(known: list[Model], name: str) -> Model | None:
    """Return the model called `name`; a title goes before other names."""
    titled = (model for model in known if model.title == name)
    named = (model for model in known if name in model.names)
    return next(titled, next(named, None))


def _model(entry: dict[str, Any]) -> Model:
    title = str(entry["title"])
    file = PurePosixPath(str(entry.get("filename") or "").replace("\\", "/"))
    names = {title, title.partition(" [")[0], str(file), file.name, file.stem}
    names |= {str(entry[key]) for key in ("model_name", "hash", "sha256") if entry.get(key)}
    return Model(title, frozenset(names - {"", "."}), entry.get("hash") or None)
