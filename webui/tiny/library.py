"""The checkpoints in a folder, and the one that is loaded."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from webui.tiny.network import Network

SHIPPED = Path(__file__).parent / "model"
"""The folder with the checkpoint that comes with this package."""


class UnknownModelError(RuntimeError):
    """No checkpoint has the name that was asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(f"model {name!r} not found")


@dataclass(frozen=True)
class Checkpoint:
    """One file, under all the names that Stable Diffusion Web UI's clients use for it."""

    path: Path
    sha256: str

    @property
    def short_hash(self) -> str:
        """What pictures carry as `Model hash`."""
        return self.sha256[:10]

    @property
    def name(self) -> str:
        """File name without its suffix."""
        return self.path.stem

    @property
    def title(self) -> str:
        """What `GET /sdapi/v1/options` shows: file name and hash."""
        return f"{self.path.name} [{self.short_hash}]"

    @property
    def aliases(self) -> frozenset[str]:
        """Every spelling that names it."""
        names = {self.title, self.path.name, self.name, f"{self.name} [{self.short_hash}]"}
        return frozenset(names | {self.short_hash, self.sha256, str(self.path)})


class Library:
    """The checkpoints of `folder`, one of which is current; its weights are loaded when first needed.

    It is not locked: callers change it one at a time.
    """

    def __init__(self, folder: Path, start: str | None = None) -> None:
        """`start` names the first current checkpoint, by default the first by name.

        Raises:
            FileNotFoundError: `folder` holds no checkpoint.
            UnknownModelError: None is called `start`.
        """
        self.folder = folder
        self.refresh()
        if not self.checkpoints:
            raise FileNotFoundError(f"{folder}: holds no *.safetensors file")
        self.current = self.find(start) if start else self.checkpoints[0]
        self._loaded: tuple[Checkpoint, Network] | None = None

    def refresh(self) -> None:
        """Looks at the folder again."""
        paths = sorted(self.folder.glob("*.safetensors"))
        self.checkpoints = [
            Checkpoint(path.absolute(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths
        ]

    def find(self, name: str) -> Checkpoint:
        """The checkpoint that `name` means. Raises `UnknownModelError`."""
        for checkpoint in self.checkpoints:
            if name in checkpoint.aliases:
                return checkpoint
        raise UnknownModelError(name)

    def use(self, checkpoint: Checkpoint) -> Network:
        """Makes `checkpoint` current and loads it if it is not. Raises `CheckpointError` and changes nothing then."""
        if self._loaded is None or self._loaded[0] != checkpoint:
            self._loaded = (checkpoint, Network(checkpoint.path))
        self.current = checkpoint
        return self._loaded[1]

    def unload(self) -> None:
        """Frees the weights; the current checkpoint stays the current one."""
        self._loaded = None
