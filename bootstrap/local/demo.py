"""The main job as an application developer does it: ask for a picture, watch, save it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

POLL_SECONDS = 0.2
LONGEST_SECONDS = 180.0


class DemoError(Exception):
    """The picture did not come; the text says why."""


def submit(api: str, prompt: str, *, size: int = 512) -> str:
    """Ask for a picture of `prompt`, `size` pixels wide and high, and return the job's id.

    Raises:
        DemoError: The API refused.
    """
    body = {"input": {"prompt": prompt, "width": size, "height": size, "steps": 20}}
    try:
        answer = requests.post(f"{api}/v1/jobs", json=body, timeout=10)
    except requests.RequestException as error:
        raise DemoError(f"POST /v1/jobs was not answered: {error}") from error
    if answer.status_code != 202:
        raise DemoError(f"POST /v1/jobs answered {answer.status_code}: {answer.text}")
    job: str = answer.json()["id"]
    return job


def watch(api: str, job: str, show: Callable[[str, float], None], check: Callable[[], None]) -> dict[str, Any]:
    """Wait for the end of `job` and return it.

    Args:
        show: Called with the status and the progress, 0 to 1, each time that they are known.
        check: Called as often; raises when waiting has become pointless.

    Raises:
        DemoError: The job did not succeed, or not in time.
    """
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        check()
        state = _state(api, job)
        if state:
            progress = (state.get("progress") or {}).get("progress") or 0.0
            show(state["status"], 1.0 if state["status"] == "succeeded" else progress)
            if state["status"] == "succeeded":
                return state
            if state["status"] not in {"queued", "running"}:
                raise DemoError(f"job {job} {state['status']}: {(state.get('error') or {}).get('message')}")
        time.sleep(POLL_SECONDS)
    raise DemoError(f"job {job} was not done after {LONGEST_SECONDS:g} s")


def _state(api: str, job: str) -> dict[str, Any] | None:
    """Return the job, or None while the API cannot tell, as when it is being started again."""
    try:
        answer = requests.get(f"{api}/v1/jobs/{job}", timeout=10)
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
    except requests.RequestException:
        return None
    return state


def save(state: dict[str, Any], folder: Path) -> Path:
    """Save the first picture of the finished job `state` into `folder` and return its path.

    Raises:
        DemoError: It cannot be loaded.
    """
    try:
        answer = requests.get(state["images"][0]["url"], timeout=30)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise DemoError(f"the picture of job {state['id']} cannot be loaded: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{state['id']}.png"
    path.write_bytes(answer.content)
    return path
