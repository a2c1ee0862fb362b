"""Prompts, pictures and files as they come in and go out, and how the server starts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from webui.tiny import images
from webui.tiny.network import CheckpointError, Network
from webui.tiny.server import measure_ram
from webui.tiny.text import START, Tokenizer

TOKENIZER = Tokenizer({"red": 2, "blue": 3, "circle": 4, "disc": 4}, length=4)


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("Red CIRCLE", [START, 2, 4]),
        ("a red, shiny disc!", [START, 2, 4]),
        ("((red:1.3)) circle <lora:blue:0.5>", [START, 2, 4]),
        ("", [START]),
        ("red red red red red", [START, 2, 2, 2]),
    ],
)
def test_a_prompt_keeps_the_words_that_the_model_knows(prompt: str, ids: list[int]) -> None:
    assert TOKENIZER.encode(prompt) == ids


def test_prompts_of_one_batch_are_padded_to_the_longest() -> None:
    assert TOKENIZER.batch(["red", "blue circle"]).tolist() == [[START, 2, 0], [START, 3, 4]]


def test_parameters_in_a_picture_are_read_as_they_were_written() -> None:
    text = images.write_infotext("a, b: c\nsecond line", "no: x", {"Steps": 20, "Model": 'a: "b", c', "Size": "64x64"})
    assert images.read_infotext(text) == {
        "Prompt": "a, b: c\nsecond line",
        "Negative prompt": "no: x",
        "Steps": "20",
        "Model": 'a: "b", c',
        "Size": "64x64",
    }


def test_a_text_without_parameters_is_all_prompt() -> None:
    assert images.read_infotext("just: words") == {"Prompt": "just: words", "Negative prompt": ""}


@pytest.mark.parametrize("size", [(256, 256), (256, 128), (100, 300)])
def test_a_square_fills_any_size_and_is_found_again_in_its_middle(size: tuple[int, int]) -> None:
    square = Image.new("RGB", (128, 128), "white")
    square.paste("red", (32, 32, 96, 96))
    wide = images.spread(square, *size)
    assert wide.size == size
    assert wide.getpixel((0, 0)) == (255, 255, 255)
    assert np.abs(images.to_floats(wide) - images.to_floats(square)).mean() < 0.03


@pytest.mark.parametrize(("mode", "corner"), [(0, (255, 0, 0)), (1, (0, 0, 255)), (2, (255, 0, 0))])
def test_a_picture_of_another_shape_is_stretched_cut_or_filled(mode: int, corner: tuple[int, int, int]) -> None:
    wide = Image.new("RGB", (300, 100), "blue")
    wide.paste("red", (0, 0, 80, 100))
    assert images.resize(wide, 100, 100, mode).size == (100, 100)
    assert images.resize(wide, 100, 100, mode).getpixel((2, 50)) == corner


@pytest.mark.parametrize("text", ["", "%%%", "aGVsbG8=", "data:image/png;base64,aGVsbG8="])
def test_what_is_no_picture_is_refused(text: str) -> None:
    with pytest.raises(images.InvalidImageError):
        images.decode(text)


def test_a_picture_too_large_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(images.InvalidImageError, match="larger than 4096"):
        images.decode(images.encode(Image.new("1", (5000, 10))))


def test_transparent_parts_become_white() -> None:
    assert images.flatten(Image.new("RGBA", (2, 2), (255, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "sdxl.safetensors")
    with pytest.raises(CheckpointError, match=r"^sdxl\.safetensors: format is None"):
        Network(tmp_path / "sdxl.safetensors")


@pytest.mark.parametrize(
    ("arguments", "environ", "complaint"),
    [
        ([], {"SD_MODEL_CHECKPOINT": "sdxl"}, "SD_MODEL_CHECKPOINT: model 'sdxl' not found"),
        (["--models", "tests/webui"], {}, "tests/webui: holds no *.safetensors file"),
    ],
)
def test_the_server_does_not_start_without_its_model(
    arguments: list[str], environ: dict[str, str], complaint: str
) -> None:
    command = [sys.executable, "-m", "webui.tiny", *arguments]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(complaint)


def test_memory_is_what_the_process_holds_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("100 50 25 1 0 30 0\n")
    ram = measure_ram(tmp_path / "statm")
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    assert ram == {"free": (pages - 50) * page, "used": 50 * page, "total": pages * page}


def test_memory_is_an_error_in_the_answer_where_the_system_does_not_tell(tmp_path: Path) -> None:
    ram = measure_ram(tmp_path / "statm")
    assert ram.keys() == {"error"}
    assert "statm" in str(ram["error"])


def test_the_server_needs_no_torch() -> None:
    code = "import sys, webui.tiny.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
