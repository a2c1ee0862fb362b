"""The console as people use it: a real browser, the real API, real agents."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect, sync_playwright

from tests.api.serving import Running, served
from tests.conftest import PATIENCE_S, Aws
from tests.studio import STAND_IN, WORKFLOWS, Studio, shared_studio, studio  # noqa: F401 - fixtures

PHONE = {"width": 390, "height": 844}
WORKFLOW = {"3": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0]}}}


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_S * 1000)
    arguments = ["--no-sandbox", "--disable-gpu"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=arguments) as browser,
    ):
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may not meet an error that nobody handles, nor load what its policy forbids."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
        yield page
        assert wrong == []


def open_console(page: Page, studio: Studio, runtime: str) -> None:  # noqa: F811
    page.goto(studio.url)
    # The options of a closed list are never visible.
    expect(page.get_by_label("Runtime").locator(f"option[value={runtime}]")).to_be_attached()
    page.get_by_label("Runtime").select_option(runtime)


def card(page: Page, prompt: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_text(prompt, exact=True))


def run(page: Page, prompt: str) -> Locator:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Run").click()
    return card(page, prompt)


def choose_image(page: Page) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "PNG")
    chosen: FilePayload = {"name": "red.png", "mimeType": "image/png", "buffer": data.getvalue()}
    page.get_by_label("Start from an image").set_input_files(chosen)
    return data.getvalue()


def test_a_picture_is_asked_for_appears_survives_a_reload_and_is_asked_for_again(page: Page, studio: Studio) -> None:  # noqa: F811
    open_console(page, studio, "tiny")
    page.get_by_label("Size").select_option("256x256")
    page.get_by_label("Steps").fill("8")
    page.get_by_label("Seed").fill("7")
    drawn = run(page, "a red circle on a blue background")
    picture = drawn.get_by_role("img", name="a red circle on a blue background")
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("naturalWidth", 256)
    expect(drawn).to_contain_text("8\u00a0steps")

    page.reload()
    expect(picture).to_have_js_property("naturalWidth", 256)
    page.get_by_label("Prompt", exact=True).fill("something else")
    drawn.get_by_role("button", name="Again").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red circle on a blue background")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    fields = [page.get_by_label(name).input_value() for name in ("Runtime", "Size", "Steps", "Seed")]
    assert fields == ["tiny", "256x256", "8", "7"]


def test_progress_is_shown_and_a_running_job_is_cancelled(page: Page, studio: Studio) -> None:  # noqa: F811
    studio.webui.held.clear()
    open_console(page, studio, STAND_IN)
    running = run(page, "a picture that takes long")
    expect(running.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "0.3")
    expect(running).to_contain_text("step\u00a03\u00a0of\u00a010")
    expect(running.locator("img")).to_have_attribute("src", re.compile("^data:image/png"))
    running.get_by_role("button", name="Cancel").click()
    expect(running).to_contain_text("Cancelled")
    expect(running.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text("a picture that takes long: cancelled")


def test_what_the_api_refuses_is_said_beside_the_field_and_a_failed_job_has_its_reason(
    page: Page,
    studio: Studio,  # noqa: F811
) -> None:
    open_console(page, studio, STAND_IN)
    page.get_by_label("Steps").fill("5000")
    page.get_by_label("How many").fill("999")
    run(page, "a refused picture")
    for name in ("Steps", "How many"):
        field = page.get_by_label(name)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile("less than or equal to"))
    expect(page.get_by_label("How many")).to_be_focused()
    expect(card(page, "a refused picture")).to_have_count(0)

    page.get_by_label("Steps").fill("20")
    page.get_by_label("How many").fill("1")
    reason = json.dumps({"error": "ValueError", "detail": "", "errors": "Sampler not found"}).encode()
    studio.webui.scripted["txt2img"] = (400, reason)
    failed = run(page, "a picture that fails")
    expect(page.get_by_label("Steps")).not_to_have_attribute("aria-invalid", "true")
    expect(failed).to_contain_text("Sampler not found")
    expect(failed).to_have_attribute("data-status", "failed")


def test_a_picture_starts_from_an_uploaded_image_and_the_next_one_from_that(page: Page, studio: Studio) -> None:  # noqa: F811
    open_console(page, studio, STAND_IN)
    image = choose_image(page)
    expect(page.get_by_label("How much of it may change")).to_be_visible()
    first = run(page, "a redrawn picture")
    expect(first.get_by_role("img", name="a redrawn picture")).to_be_visible()
    assert studio.webui.bodies("img2img")[-1]["init_images"][0]
    found = studio.s3.list_objects_v2(Bucket=studio.bucket, Prefix="uploads/")["Contents"]
    assert [each["Size"] for each in found] == [len(image)], "it went straight to the bucket"

    first.get_by_role("button", name="Start from this").click()
    expect(page.locator("#kept")).to_contain_text(".png")
    second = run(page, "a picture redrawn twice")
    expect(second.get_by_role("img", name="a picture redrawn twice")).to_be_visible()
    assert len(studio.webui.bodies("img2img")) >= 2


def test_an_image_travels_in_the_job_where_the_bucket_takes_nothing_from_the_page(page: Page, studio: Studio) -> None:  # noqa: F811
    # As a browser does without a CORS rule.
    page.route(re.compile("/uploads/.+"), lambda route: route.abort())
    open_console(page, studio, STAND_IN)
    image = choose_image(page)
    redrawn = run(page, "a picture redrawn from within")
    expect(redrawn.get_by_role("img", name="a picture redrawn from within")).to_be_visible()
    sent = studio.webui.bodies("img2img")[-1]["init_images"][0]
    assert base64.b64decode(sent.rpartition(",")[2]) == image


def test_jobs_of_other_clients_appear_by_themselves_and_older_ones_on_demand(page: Page, studio: Studio) -> None:  # noqa: F811
    def submit(prompt: str) -> None:
        body = {"runtime": STAND_IN, "input": {"prompt": prompt}}
        requests.post(f"{studio.url}/v1/jobs", json=body, timeout=30).raise_for_status()

    for number in range(26):
        submit(f"picture {number}")
    open_console(page, studio, STAND_IN)
    cards = page.locator("#jobs > li")
    expect(cards).to_have_count(24)
    expect(cards.first).to_contain_text("picture 25")
    page.get_by_role("button", name="Show older ones").click()
    expect(card(page, "picture 0")).to_be_visible()
    submit("a picture of somebody else")
    expect(cards.first).to_contain_text("a picture of somebody else")


def test_a_workflow_is_pasted_for_comfyui_and_waits_in_its_queue(page: Page, studio: Studio) -> None:  # noqa: F811
    open_console(page, studio, WORKFLOWS)
    field = page.get_by_label("Workflow in ComfyUI's API format")
    expect(page.get_by_label("Prompt", exact=True)).to_be_hidden()
    field.fill("{")
    page.get_by_role("button", name="Run").click()
    expect(field).to_have_accessible_description(re.compile("not JSON"))
    field.fill(json.dumps(WORKFLOW))
    page.get_by_role("button", name="Run").click()
    expect(field).to_have_accessible_description('3.inputs.model: there is no node "4"')
    field.fill(json.dumps(WORKFLOW | {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {}}}))
    page.get_by_role("button", name="Run").click()
    waiting = page.locator("#jobs li").first
    expect(waiting).to_have_attribute("data-status", "queued")
    expect(page.get_by_role("list", name="Queues")).to_contain_text(re.compile(rf"{WORKFLOWS} [1-9]\d* waiting"))
    waiting.get_by_role("button", name="Cancel").click()
    expect(waiting).to_have_attribute("data-status", "cancelled")


def test_it_works_on_a_phone_and_from_the_keyboard_alone(page: Page, studio: Studio) -> None:  # noqa: F811
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    open_console(page, studio, STAND_IN)
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider == 0, "nothing is beyond the edge"
    page.get_by_label("Runtime").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("a picture without a mouse")
    page.keyboard.press("Control+Enter")
    drawn = card(page, "a picture without a mouse")
    expect(drawn.get_by_role("img", name="a picture without a mouse")).to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Not in the picture")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "again":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()


def test_a_key_is_asked_for_where_there_are_keys_and_kept_for_the_tab(
    page: Page, aws: Aws, running: Running, tmp_path: Path
) -> None:
    digest = hashlib.sha256(b"key-of-a-person").hexdigest()
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{"name": "person", "sha256": digest}]}))
    log = tmp_path / "api.log"
    with served(aws, log, running.topic, API_KEYS_FILE=str(tmp_path / "keys.json")) as (url, _):
        page.goto(url)
        key = page.get_by_role("textbox", name="API key")
        key.fill("wrong")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_text("That key is not let in.")).to_be_visible()
        key.fill("key-of-a-person")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_label("Runtime")).to_contain_text("tiny")
        expect(key).to_be_hidden()
        page.reload()
        expect(page.get_by_label("Runtime")).to_contain_text("tiny")
        expect(key).to_be_hidden()
        page.get_by_role("button", name="Forget the key").click()
        expect(key).to_be_visible()
    assert "key-of-a-person" not in log.read_text()
