"""The image store of the test cluster: what is made once, what is made again, and what is handed over."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.cluster import debian, dockerfiles, images, store
from tests.e2e.cluster.debian import Debian
from tests.e2e.cluster.images import Image


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    folder = tmp_path / "images"
    for module in (store, dockerfiles):
        monkeypatch.setattr(module, "IMAGES", folder)
    monkeypatch.setattr(store, "BLOBS", folder / "blobs")
    monkeypatch.setattr(store, "INDEX", folder / "index.json")
    monkeypatch.setattr(store, "REGISTRY", "127.0.0.1:1")
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image of one program."""
    program = tmp_path / "program"
    program.write_text("version 1")
    return Image("darkroom/program:1", {"bin/program": program}, {"Entrypoint": ["/bin/program"]})


def blobs(folder: Path) -> set[Path]:
    """Return the blobs of a store."""
    return set((folder / "blobs" / "sha256").iterdir())


def test_an_image_is_made_once_and_again_when_a_file_of_it_changes(image: Image, folder: Path) -> None:
    first = images.keep(image)
    made = blobs(folder)
    assert images.keep(image) == first
    assert blobs(folder) == made
    image.files["bin/program"].write_text("version 2.0")
    second = images.keep(image)
    assert second != first
    assert blobs(folder) > made
    assert store.has(second)
    assert not store.has(first), "one image of a name is kept"


def test_an_image_is_another_one_with_another_command_link_or_base(image: Image) -> None:
    others = [
        replace(image, config={"Entrypoint": ["/bin/other"]}),
        replace(image, links={"bin/other": "program"}),
        replace(image, base=Debian("trixie", ())),
    ]
    assert len({it.reference for it in [image, *others]}) == 4
    assert replace(image, name="darkroom/program:2").reference == image.reference, "a tag is no content"


def test_blobs_are_what_they_are_called_and_nothing_else_is_left(image: Image, folder: Path) -> None:
    images.keep(image)
    assert len(blobs(folder)) == 3
    for blob in blobs(folder):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert {path.name for path in folder.iterdir()} == {".lock", "blobs", "index.json", "oci-layout"}


def test_images_on_the_same_base_share_its_layer(image: Image, tmp_path: Path) -> None:
    base = Debian("trixie", ("git",))
    (tmp_path / "layer").write_bytes(b"a root file system")
    store.keep(base.reference, [], tmp_path / "layer", {"Env": [debian.PATH]})
    above = images.keep(replace(image, base=base))
    assert store.layers(above)[0] == store.layers(base.reference)[0]
    assert len(store.layers(above)) == 2


def test_what_no_image_needs_any_more_is_swept_out(image: Image, folder: Path) -> None:
    images.keep(image)
    image.files["bin/program"].write_text("version 2.0")
    images.keep(image)
    (folder / "blobs" / "upload-1").write_text("what a registry did not finish")
    store.sweep()
    assert len(blobs(folder)) == 3
    assert not (folder / "blobs" / "upload-1").exists()
    assert store.has(image.reference)


def test_a_registry_that_does_not_answer_is_named_with_the_image(image: Image) -> None:
    with pytest.raises(store.ImageError, match=r"darkroom/program:1 cannot be published: .*Is the cluster up\?"):
        images.push(image)


def test_a_dockerfile_is_built_again_when_what_it_copies_is_committed_and_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    monkeypatch.setattr(dockerfiles, "ROOT", tree)
    built: list[str] = []

    def build(folder: str, commit: str, reference: str, temporary: Path) -> None:
        built.append(reference)
        store.keep(reference, [], None, {})

    monkeypatch.setattr(dockerfiles, "_build", build)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/buildah")
    monkeypatch.setattr(debian, "keep", lambda _: None)
    (tree / "agent").mkdir(parents=True)
    git = ["git", "-C", str(tree), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)

    def commit(path: str, text: str) -> str:
        (tree / path).write_text(text)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message=a"], check=True)
        return dockerfiles.build("agent")

    (tree / "agent" / "a.py").write_text("1")
    first = commit("agent/Dockerfile", "FROM base AS build\nCOPY agent agent\nFROM base\nCOPY --from=build /app /app\n")
    assert commit("README.md", "2") == first
    (tree / "agent" / "a.py").write_text("not committed")
    assert dockerfiles.build("agent") == first
    assert commit("agent/a.py", "2") != first
    assert commit(".dockerignore", "*") not in built[:2]
    assert len(built) == 3


def test_what_is_not_committed_cannot_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dockerfiles, "ROOT", tmp_path)
    with pytest.raises(store.ImageError, match="Only what is committed is built"):
        dockerfiles.build("agent")


def test_pip_is_told_in_a_build_what_it_is_told_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    assert "index-url = https://packages.example/simple" in dockerfiles.pip_settings().splitlines()


def test_the_store_is_an_image_layout_that_other_programs_read(image: Image, folder: Path) -> None:
    reference = images.keep(image)
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (listed,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    assert listed["annotations"]["org.opencontainers.image.ref.name"] == reference
    manifest = json.loads((folder / "blobs" / "sha256" / listed["digest"].removeprefix("sha256:")).read_bytes())
    assert manifest["schemaVersion"] == 2
    assert [it["mediaType"] for it in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar"]
