"""Stable Diffusion Web UI's HTTP API, as far as it makes sense for a model that draws coloured shapes.

Pictures are made one request at a time, in the order of arrival; whoever comes second waits. Progress, interruption and
everything else that only looks is answered meanwhile.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from PIL import Image

from webui.tiny import images
from webui.tiny.generation import MissingImageError, UnknownSamplerError, generate
from webui.tiny.library import Checkpoint, Library, UnknownModelError
from webui.tiny.network import CheckpointError
from webui.tiny.sampling import SAMPLERS, SCHEDULERS
from webui.tiny.schemas import (
    BatchExtrasRequest,
    ExtrasRequest,
    GenerationRequest,
    ImageRequest,
    PngInfoRequest,
    SingleExtrasRequest,
    TextRequest,
)
from webui.tiny.state import State

LARGEST_BODY = 64 * 2**20
"""Of a request, in bytes."""

NOT_HERE = (
    "sd-vae", "sd-modules", "loras", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles",
    "latent-upscale-modes", "script-info", "extensions",
)  # fmt: skip
"""What the original lists and this model has none of."""

Json = dict[str, object]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def create_app(library: Library) -> FastAPI:
    """The server for the checkpoints of `library`."""
    app, state, queue = FastAPI(title="Darkroom tiny", version="1", description=__doc__), State(), asyncio.Lock()
    for router in (
        _drawing(library, state, queue),
        _watching(state),
        _models(library, queue),
        _pictures(),
        _lists(library),
    ):
        app.include_router(router, prefix="/sdapi/v1")
    app.add_middleware(_Envelope)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_other_error)
    # Without their own handlers, errors of these types would be raised again after they are answered.
    app.add_exception_handler(UnknownModelError, _answer_other_error)
    app.add_exception_handler(CheckpointError, _answer_other_error)
    return app


def measure_ram(statm: Path = Path("/proc/self/statm")) -> Json:
    """What this process holds of the machine's memory, in bytes; where the system does not tell, an `error`."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
        used = page * int(statm.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError) as error:  # of these, ValueError is a name that the system does not know
        return {"error": str(error)}
    return {"free": total - used, "used": used, "total": total}


def _drawing(library: Library, state: State, queue: asyncio.Lock) -> APIRouter:
    router = APIRouter()

    async def draw(request: GenerationRequest) -> Json:
        _refuse_scripts(request)
        # Those who wait hold no thread, so that any number of them leaves the pool to the others.
        async with queue:
            try:
                return await run_in_threadpool(generate, request, library, state)
            except UnknownSamplerError as error:
                raise HTTPException(400, "Sampler not found") from error
            except MissingImageError as error:
                raise HTTPException(404, "Init image not found") from error
            except images.InvalidImageError as error:
                raise HTTPException(500, "Invalid encoded image") from error

    @router.post("/txt2img")
    async def txt2img(request: TextRequest) -> Json:
        return await draw(request)

    @router.post("/img2img")
    async def img2img(request: ImageRequest) -> Json:
        return await draw(request)

    return router


def _watching(state: State) -> APIRouter:
    router = APIRouter()

    @router.get("/progress")
    def progress(skip_current_image: bool = False) -> Json:
        now = state.moment
        preview = None
        if now.preview and not skip_current_image:
            network, latents = now.preview
            preview = images.encode(images.from_floats(network.decode(latents[:1])[0]))
        return {
            "progress": now.progress,
            "eta_relative": now.eta_seconds,
            "state": {
                "skipped": now.skipped,
                "interrupted": now.interrupted,
                "stopping_generation": False,
                "job": now.job,
                "job_count": now.job_count,
                "job_timestamp": now.job_timestamp,
                "job_no": now.job_no,
                "sampling_step": now.sampling_step,
                "sampling_steps": now.sampling_steps,
            },
            "current_image": preview,
            "textinfo": None,
        }

    @router.post("/interrupt")
    async def interrupt() -> Json:
        state.interrupt()
        return {}

    @router.post("/skip")
    async def skip() -> None:
        state.skip()

    @router.get("/memory")
    def memory() -> Json:
        return {"ram": measure_ram(), "cuda": {"error": "unavailable"}}

    return router


def _models(library: Library, queue: asyncio.Lock) -> APIRouter:
    router = APIRouter()
    # Settings that are sent are kept and shown again, but only the checkpoint changes anything.
    settings: Json = {"samples_format": "png", "CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"}

    @router.get("/options")
    async def get_options() -> Json:
        current = library.current
        return settings | {"sd_model_checkpoint": current.title, "sd_checkpoint_hash": current.sha256}

    @router.post("/options")
    async def set_options(changes: Json) -> None:
        name = changes.pop("sd_model_checkpoint", None)
        checkpoint = library.find(str(name)) if name is not None else None
        async with queue:
            if checkpoint:
                await run_in_threadpool(library.use, checkpoint)
            settings.update(changes)

    @router.get("/sd-models")
    async def sd_models() -> list[Json]:
        return [_describe(checkpoint) for checkpoint in library.checkpoints]

    @router.post("/refresh-checkpoints")
    async def refresh_checkpoints() -> None:
        async with queue:
            await run_in_threadpool(library.refresh)

    @router.post("/unload-checkpoint")
    async def unload_checkpoint() -> Json:
        async with queue:
            library.unload()
        return {}

    @router.post("/reload-checkpoint")
    async def reload_checkpoint() -> Json:
        async with queue:
            await run_in_threadpool(library.use, library.current)
        return {}

    return router


def _pictures() -> APIRouter:
    router = APIRouter()

    @router.post("/extra-single-image")
    def extra_single_image(request: SingleExtrasRequest) -> Json:
        return {"html_info": "", "image": images.encode(_upscale(request, request.image))}

    @router.post("/extra-batch-images")
    def extra_batch_images(request: BatchExtrasRequest) -> Json:
        upscaled = [images.encode(_upscale(request, image.data)) for image in request.image_list]
        return {"html_info": "", "images": upscaled}

    @router.post("/png-info")
    def png_info(request: PngInfoRequest) -> Json:
        items = {key: value for key, value in _open(request.image).info.items() if isinstance(value, str)}
        info = items.get("parameters", "")
        return {"info": info, "items": items, "parameters": images.read_infotext(info) if info else {}}

    return router


def _lists(library: Library) -> APIRouter:
    router = APIRouter()

    @router.get("/samplers")
    async def samplers() -> list[Json]:
        return [{"name": sampler.name, "aliases": list(sampler.aliases), "options": {}} for sampler in SAMPLERS]

    @router.get("/schedulers")
    async def schedulers() -> list[Json]:
        return [
            {"name": name, "label": label, "aliases": None, "default_rho": -1, "need_inner_model": False}
            for name, (label, _) in SCHEDULERS.items()
        ]

    @router.get("/upscalers")
    async def upscalers() -> list[Json]:
        return [
            {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4}
            for name in ("None", *images.UPSCALERS)
        ]

    @router.get("/scripts")
    async def scripts() -> Json:
        return {"txt2img": [], "img2img": []}

    @router.get("/embeddings")
    async def embeddings() -> Json:
        return {"loaded": {}, "skipped": {}}

    @router.get("/cmd-flags")
    async def cmd_flags() -> Json:
        return {"api": True, "ckpt_dir": str(library.folder), "ckpt": str(library.current.path), "use_cpu": ["all"]}

    async def nothing() -> list[Json]:
        return []

    for path in NOT_HERE:
        router.get(f"/{path}", name=path)(nothing)

    return router


def _refuse_scripts(request: GenerationRequest) -> None:
    """There are no scripts here, and a picture without the one that was asked for would be a wrong answer."""
    if request.script_name:
        raise HTTPException(422, f"Script '{request.script_name}' not found")
    for name in request.alwayson_scripts:
        raise HTTPException(422, f"always on script {name} not found")


def _open(encoded: str) -> Image.Image:
    try:
        return images.decode(encoded)
    except images.InvalidImageError as error:
        raise HTTPException(500, "Invalid encoded image") from error


def _upscale(request: ExtrasRequest, encoded: str) -> Image.Image:
    """The upscaler `None` returns the picture as it came, as the original's does."""
    image = images.flatten(_open(encoded))
    if request.upscaler_1 == "None":
        return image
    if request.upscaler_1 not in images.UPSCALERS:
        raise HTTPException(422, f"could not find upscaler named {request.upscaler_1}")
    width, height = request.upscaling_resize_w, request.upscaling_resize_h
    if request.resize_mode == 0:
        width, height = (max(1, round(side * request.upscaling_resize)) for side in image.size)
    if max(width, height) > images.LARGEST_SIDE:
        raise HTTPException(422, f"{width}x{height}: no side may be longer than {images.LARGEST_SIDE} pixels")
    if request.resize_mode == 1 and request.upscaling_crop:
        return images.resize(image, width, height, 1)
    return image.resize((width, height), images.UPSCALERS[request.upscaler_1])


def _describe(checkpoint: Checkpoint) -> Json:
    return {
        "title": checkpoint.title,
        "model_name": checkpoint.name,
        "hash": checkpoint.short_hash,
        "sha256": checkpoint.sha256,
        "filename": str(checkpoint.path),
        "config": None,
    }


async def _answer_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for no other
    body = {"error": "HTTPException", "detail": error.detail, "body": "", "errors": ""}
    return JSONResponse(body, error.status_code, error.headers)


async def _answer_other_error(_: Request, error: Exception) -> JSONResponse:
    name = "RuntimeError" if isinstance(error, RuntimeError) else type(error).__name__
    return JSONResponse({"error": name, "detail": "", "body": "", "errors": str(error)}, 500)


class _Envelope:
    """Refuses bodies over `LARGEST_BODY` and puts `X-Process-Time` (seconds) on every answer."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, received = time.perf_counter(), 0

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise HTTPException(413, f"request body over {LARGEST_BODY} bytes")
            return message

        async def timed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = f"{time.perf_counter() - started:.4f}".encode()
                message["headers"] = [*message.get("headers", []), (b"x-process-time", seconds)]
            await send(message)

        await self._app(scope, bounded_receive, timed_send)
