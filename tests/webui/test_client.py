"""What a user of Stable Diffusion Web UI does through the client they already have."""

import base64
import io
import itertools
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from webuiapi import WebUIApi

from tests.webui.conftest import OTHER, SHIPPED_FILE, Background, Server
from webui.tiny.server import measure_ram

ENDLESS: dict[str, Any] = {"prompt": "a red circle", "steps": 60, "n_iter": 16, "width": 64, "height": 64}
"""Much longer than any test waits."""


def pixels(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(image.convert("RGB"), np.float32)


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean distance of two pictures, in levels of 255."""
    return float(np.abs(pixels(first) - pixels(second)).mean())


def open_picture(encoded: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def test_a_prompt_becomes_a_picture_of_the_size_asked_for(client: WebUIApi) -> None:
    image = client.txt2img(prompt="a red circle", seed=1, width=320, height=192).image
    assert image.size == (320, 192)
    red, green, blue = pixels(image)[96, 160]
    assert red > 150 > max(green, blue)


def test_the_same_seed_draws_the_same_picture_and_another_seed_another(client: WebUIApi) -> None:
    first, again, other = (
        client.txt2img(prompt="a blue star", seed=seed, width=128, height=128).image for seed in (7, 7, 8)
    )
    assert difference(first, again) < 0.5
    assert difference(first, other) > 1


def test_a_random_seed_is_reported_so_that_the_picture_can_be_drawn_again(client: WebUIApi) -> None:
    lucky = client.txt2img(prompt="a green heart", width=128, height=128)
    again = client.txt2img(prompt="a green heart", width=128, height=128, seed=lucky.info["seed"])
    assert difference(lucky.image, again.image) < 0.5


def test_a_batch_counts_seeds_up_and_puts_a_sheet_of_all_before_them(client: WebUIApi) -> None:
    result = client.txt2img(prompt="a pink ring", seed=20, batch_size=2, n_iter=2, width=64, height=64)
    assert result.info["all_seeds"] == [20, 21, 22, 23]
    assert result.info["index_of_first_image"] == 1
    assert [image.size for image in result.images] == [(128, 128), *[(64, 64)] * 4]
    alone = client.txt2img(prompt="a pink ring", seed=22, width=64, height=64).image
    assert difference(result.images[3], alone) < 1


def test_a_batch_comes_without_a_sheet_when_none_is_wanted(client: WebUIApi) -> None:
    result = client.txt2img(prompt="a pink ring", batch_size=2, do_not_save_grid=True, width=64, height=64)
    assert len(result.images) == 2
    assert result.info["index_of_first_image"] == 0


def test_the_picture_itself_says_how_it_was_made(client: WebUIApi) -> None:
    image = client.txt2img(prompt="a red, red square", negative_prompt="blue", seed=3, width=64, height=64).image
    assert image.info["parameters"].startswith("a red, red square\nNegative prompt: blue\nSteps: 12, Sampler: Euler,")
    answer = client.png_info(image)
    assert answer.info == image.info["parameters"]
    assert answer.parameters["Seed"] == "3"
    assert answer.parameters["Model"] == SHIPPED_FILE.stem


@pytest.mark.parametrize("name", ["Euler", "Euler a", "DDIM", "DPM++ 2M", "DPM++ 2M Karras"])
def test_every_sampler_that_clients_use_by_default_draws(client: WebUIApi, name: str) -> None:
    result = client.txt2img(prompt="a green square", sampler_name=name, seed=4, width=128, height=128)
    assert result.info["sampler_name"] == name
    red, green, blue = pixels(result.image)[64, 64]
    assert green > 100 > max(red, blue)


def test_a_picture_is_drawn_over_as_far_as_its_strength_allows(client: WebUIApi) -> None:
    red = client.txt2img(prompt="a red square", seed=1, width=128, height=128).image
    slight, strong = (
        client.img2img(images=[red], prompt="a blue square", denoising_strength=strength, seed=1, width=128, height=128)
        for strength in (0.1, 0.9)
    )
    assert difference(slight.image, red) < difference(strong.image, red) / 2
    assert strong.info["denoising_strength"] == 0.9
    assert strong.parameters["init_images"] is None


def test_what_a_mask_protects_stays(client: WebUIApi) -> None:
    before = client.txt2img(prompt="a red square on yellow", seed=1, width=128, height=128).image
    mask = Image.new("L", before.size)
    mask.paste(255, (64, 0, 128, 128))
    after = client.img2img(
        images=[before], mask_image=mask, mask_blur=0, prompt="a blue square on black", denoising_strength=1.0, seed=1,
        width=128, height=128,
    ).image  # fmt: skip
    assert np.array_equal(pixels(after)[:, :64], pixels(before)[:, :64])
    assert np.abs(pixels(after)[:, 64:] - pixels(before)[:, 64:]).mean() > 20


def test_a_picture_is_upscaled_by_a_factor_or_to_a_size(client: WebUIApi) -> None:
    image = Image.new("RGB", (40, 20), "red")
    assert client.extra_single_image(image, upscaler_1="Lanczos", upscaling_resize=3).image.size == (120, 60)
    to_size = client.extra_batch_images(
        [image, image], upscaler_1="Nearest", resize_mode=1, upscaling_resize_w=64, upscaling_resize_h=64
    )
    assert [picture.size for picture in to_size.images] == [(64, 64)] * 2


def test_a_user_switches_models(client: WebUIApi) -> None:
    titles = client.util_get_model_names()
    other = next(title for title in titles if title.startswith(OTHER))
    client.util_set_model(other, find_closest=False)
    assert client.util_get_current_model() == other
    assert client.txt2img(prompt="a red circle", width=64, height=64).info["sd_model_name"] == "other-shapes"
    client.set_options({"sd_model_checkpoint": SHIPPED_FILE.stem})
    assert client.util_get_current_model().startswith(SHIPPED_FILE.name)


def test_one_picture_is_drawn_with_another_model_and_the_next_with_the_usual_one(client: WebUIApi) -> None:
    result = client.txt2img(
        prompt="a red circle", width=64, height=64, override_settings={"sd_model_checkpoint": OTHER}
    )
    assert result.info["sd_model_name"] == "other-shapes"
    assert client.txt2img(prompt="a red circle", width=64, height=64).info["sd_model_name"] == SHIPPED_FILE.stem


def test_an_unknown_model_in_override_settings_is_silently_ignored_as_in_the_original(client: WebUIApi) -> None:
    result = client.txt2img(
        prompt="a red circle", width=64, height=64, override_settings={"sd_model_checkpoint": "sdxl"}
    )
    assert result.info["sd_model_name"] == SHIPPED_FILE.stem


def test_memory_is_freed_on_demand_and_the_model_comes_back_when_needed(client: WebUIApi, server: Server) -> None:
    assert server.post("unload-checkpoint").json() == {}
    assert client.util_get_current_model().startswith(SHIPPED_FILE.name)
    assert client.txt2img(prompt="a red circle", width=64, height=64).image.size == (64, 64)
    assert client.get_memory()["ram"].keys() == measure_ram().keys()


def test_a_new_model_is_offered_after_a_refresh(client: WebUIApi, server: Server) -> None:
    added = server.models / "added.safetensors"
    added.symlink_to(SHIPPED_FILE)
    try:
        client.refresh_checkpoints()
        assert {model["model_name"] for model in client.get_sd_models()} == {"added", "other-shapes", SHIPPED_FILE.stem}
    finally:
        added.unlink()
        client.refresh_checkpoints()


def test_everything_else_that_the_client_asks_is_answered(client: WebUIApi) -> None:
    assert "Euler a" in client.util_get_sampler_names()
    assert "karras" in client.util_get_scheduler_names()
    assert {"None", "Lanczos"} <= {upscaler["name"] for upscaler in client.get_upscalers()}
    assert client.get_scripts() == {"txt2img": [], "img2img": []}
    assert client.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert client.get_cmd_flags()["api"] is True
    nothing = ["sd_vae", "loras", "hypernetworks", "face_restorers", "realesrgan_models", "prompt_styles"]
    assert [getattr(client, f"get_{name}")() for name in nothing] == [[]] * len(nothing)


def test_progress_is_zero_when_idle_and_grows_with_the_steps_while_drawing(server: Server) -> None:
    idle = server.get("progress")
    assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0, 0, None)
    drawing = Background(lambda: server.post("txt2img", ENDLESS))
    seen = [server.wait_for(lambda answer: answer["state"]["sampling_step"] > 0)]
    while len(seen) < 6:
        seen.append(server.wait_for(lambda answer: answer["progress"] != seen[-1]["progress"]))
    assert server.get("progress", skip_current_image="true")["current_image"] is None
    server.post("interrupt")
    assert drawing.wait().ok
    assert all(before["progress"] < after["progress"] for before, after in itertools.pairwise(seen))
    for answer in seen:
        state = answer["state"]
        assert (state["job_count"], state["sampling_steps"]) == (ENDLESS["n_iter"], ENDLESS["steps"])
        done = (state["job_no"] + state["sampling_step"] / state["sampling_steps"]) / state["job_count"]
        assert answer["progress"] == pytest.approx(min(1, 0.01 + done))
    assert server.get("progress")["progress"] == 0


def test_a_preview_shows_what_is_being_drawn(server: Server) -> None:
    drawing = Background(lambda: server.post("txt2img", ENDLESS))
    preview = server.wait_for(lambda answer: answer["state"]["sampling_step"] > 30)["current_image"]
    server.post("interrupt")
    drawing.wait()
    red, green, blue = pixels(open_picture(preview))[64, 64]
    assert red > 150 > max(green, blue)


def test_an_interrupted_request_answers_with_what_it_has(server: Server) -> None:
    drawing = Background(lambda: server.post("txt2img", ENDLESS))
    before = server.wait_for(lambda answer: answer["state"]["job_no"] > 0)["state"]["job_no"]
    assert server.post("interrupt").json() == {}
    answer = drawing.wait()
    assert answer.status_code == 200
    info = json.loads(answer.json()["info"])
    assert before < len(info["all_seeds"]) < ENDLESS["n_iter"]
    assert info["index_of_first_image"] == 1
    assert len(answer.json()["images"]) == 1 + len(info["all_seeds"])
    assert server.get("progress")["state"]["interrupted"] is False


def test_skipping_ends_one_batch_and_goes_on_with_the_next(server: Server) -> None:
    drawing = Background(lambda: server.post("txt2img", ENDLESS))
    before = server.wait_for(lambda answer: answer["state"]["sampling_step"] > 0)["state"]["job_no"]
    server.post("skip")
    server.wait_for(lambda answer: answer["state"]["job_no"] > before and not answer["state"]["skipped"])
    server.post("interrupt")
    assert before + 1 < len(json.loads(drawing.wait().json()["info"])["all_seeds"]) < ENDLESS["n_iter"]


@pytest.mark.parametrize(("button", "flag"), [("interrupt", "interrupted"), ("skip", "skipped")])
def test_a_button_pressed_while_nothing_is_drawn_is_forgotten_by_the_next_request(
    server: Server, button: str, flag: str
) -> None:
    server.post(button)
    assert server.get("progress")["state"][flag] is True
    answer = server.post("txt2img", {"prompt": "a blue square", "steps": 2, "n_iter": 2, "seed": 5})
    assert json.loads(answer.json()["info"])["all_seeds"] == [5, 6]
    assert server.get("progress")["state"][flag] is False


def test_a_second_request_waits_for_the_first_and_survives_its_interruption(server: Server) -> None:
    first = Background(lambda: server.post("txt2img", ENDLESS))
    before = server.wait_for(lambda answer: answer["state"]["sampling_step"] > 0)["state"]["job_no"]
    second = Background(lambda: server.post("txt2img", {"prompt": "a blue square", "steps": 4, "n_iter": 2, "seed": 5}))
    later = server.wait_for(lambda answer: answer["state"]["job_no"] > before)
    assert later["state"]["job_count"] == ENDLESS["n_iter"]
    assert second.running
    server.post("interrupt")
    assert before + 1 < len(json.loads(first.wait().json()["info"])["all_seeds"]) < ENDLESS["n_iter"]
    assert json.loads(second.wait().json()["info"])["all_seeds"] == [5, 6]


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("txt2img", {"sampler_name": "Nope"}, 400, "Sampler not found"),
        ("txt2img", {"script_name": "xyz"}, 422, "Script 'xyz' not found"),
        ("txt2img", {"alwayson_scripts": {"controlnet": {}}}, 422, "always on script controlnet not found"),
        ("img2img", {}, 404, "Init image not found"),
        ("img2img", {"init_images": ["no picture"]}, 500, "Invalid encoded image"),
        ("extra-single-image", {"image": ""}, 500, "Invalid encoded image"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_the_words_of_the_original(
    server: Server, path: str, body: object, status: int, detail: str
) -> None:
    answer = server.post(path, body)
    assert answer.status_code == status
    assert answer.json() == {"error": "HTTPException", "detail": detail, "body": "", "errors": ""}


def test_an_unknown_model_in_options_is_a_runtime_error_as_in_the_original(server: Server) -> None:
    answer = server.post("options", {"sd_model_checkpoint": "sdxl"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "RuntimeError", "detail": "", "body": "", "errors": "model 'sdxl' not found"}


@pytest.mark.parametrize("field", ["steps", "width", "batch_size", "n_iter"])
def test_a_number_out_of_bounds_is_refused_and_named(server: Server, field: str) -> None:
    answer = server.post("txt2img", {field: 100_000})
    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", field]]


def test_more_pictures_than_fit_into_an_answer_are_refused(server: Server) -> None:
    answer = server.post("txt2img", {"width": 2048, "height": 2048, "batch_size": 16, "n_iter": 2})
    assert answer.status_code == 422
    assert "32 pictures of 2048x2048 are more than 64 megapixels: ask for less" in answer.text


def test_a_high_resolution_pass_enlarges_the_picture(client: WebUIApi) -> None:
    large = client.txt2img(prompt="a red circle", width=128, height=64, enable_hr=True, hr_scale=1.5)
    assert large.image.size == (192, 96)


def test_a_body_too_large_for_any_picture_is_refused(server: Server) -> None:
    assert server.post("img2img", {"init_images": ["A" * 70_000_000]}).status_code == 413


def test_a_broken_file_among_the_models_is_named_and_the_server_draws_on(server: Server) -> None:
    broken = server.models / "broken.safetensors"
    broken.write_bytes(b"no checkpoint")
    try:
        server.post("refresh-checkpoints")
        answer = server.post("options", {"sd_model_checkpoint": "broken"})
        assert answer.status_code == 500
        assert answer.json()["errors"].startswith("broken.safetensors: cannot be read")
        assert server.post("txt2img", {"prompt": "a red circle", "steps": 1}).ok
    finally:
        broken.unlink()
        server.post("refresh-checkpoints")
