"""Turns a request of Stable Diffusion Web UI's API into drawings, and what they become into its answer."""

import json
import secrets
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from webui.tiny import images
from webui.tiny.engine import Drawing, Start, draw
from webui.tiny.layers import Floats
from webui.tiny.library import Checkpoint, Library
from webui.tiny.network import PIXELS, Network, encode
from webui.tiny.sampling import SAMPLERS, SCHEDULERS, Sampler, Spacing
from webui.tiny.schemas import GenerationRequest, ImageRequest
from webui.tiny.state import State

VERSION = "darkroom-tiny"
DEFAULT_STRENGTH = 0.75


class UnknownSamplerError(LookupError):
    """No sampler has the name that was asked for."""


class MissingImageError(LookupError):
    """An img2img request came without a picture."""


@dataclass(frozen=True)
class Canvas:
    """What img2img draws on: the picture at the requested size, and a mask (white may change) like it."""

    picture: Image.Image
    mask: Image.Image | None


def find_sampler(request: GenerationRequest) -> Sampler:
    """The sampler that a request names, in either field. Raises `UnknownSamplerError`."""
    name = request.sampler_name or request.sampler_index or SAMPLERS[0].name
    for sampler in SAMPLERS:
        if name == sampler.name or name.lower() in {sampler.name.lower(), *sampler.aliases}:
            return sampler
    raise UnknownSamplerError(name)


def choose_seeds(request: GenerationRequest) -> tuple[list[int], list[int]]:
    """Seeds and subseeds of all pictures: they count up, but seeds stay where subseeds do the varying."""
    seed, subseed = (secrets.randbelow(2**32) if value == -1 else value for value in (request.seed, request.subseed))
    total = request.batch_size * request.n_iter
    step = 0 if request.subseed_strength else 1
    return [seed + step * index for index in range(total)], [subseed + index for index in range(total)]


def open_canvas(request: ImageRequest) -> Canvas:
    """Reads the picture and the mask. Raises `MissingImageError` or `images.InvalidImageError`."""
    if not request.init_images:
        raise MissingImageError
    mode = request.resize_mode % 3  # mode 3 is the original's "just resize" in latent space
    size = (request.width, request.height)
    picture = images.resize(images.flatten(images.decode(request.init_images[0])), *size, mode)
    if not request.mask:
        return Canvas(picture, None)
    mask = images.resize(images.decode(request.mask).convert("L"), *size, mode)
    if request.inpainting_mask_invert:
        mask = ImageOps.invert(mask)
    blur = (request.mask_blur_x, request.mask_blur_y) if request.mask_blur is None else (request.mask_blur,) * 2
    return Canvas(picture, mask.filter(ImageFilter.GaussianBlur(blur)))


def start_from(canvas: Canvas, strength: float) -> Start:
    """Where on the way from noise to a picture this canvas stands."""
    latent = encode(images.to_floats(canvas.picture)[None])[0]
    if canvas.mask is None:
        return Start(latent, strength)
    mask = images.to_floats(canvas.mask).reshape(1, PIXELS, PIXELS, 1)
    return Start(latent, strength, encode(mask)[0] / 2 + np.float32(0.5))


def finish(pixels: Floats, size: tuple[int, int], canvas: Canvas | None) -> Image.Image:
    """A drawn picture at the requested size, with what the mask protects put back."""
    picture = images.spread(images.from_floats(pixels), *size)
    if canvas is None or canvas.mask is None:
        return picture
    return Image.composite(picture, canvas.picture, canvas.mask)


def generate(request: GenerationRequest, library: Library, state: State) -> dict[str, object]:
    """Draws all batches of a request; interrupted, it answers with what it has.

    Returns:
        The body of the answer: `images` (base64 PNG), `parameters` (the request) and `info` (JSON in a string).

    Raises:
        UnknownSamplerError, MissingImageError, images.InvalidImageError: The request cannot be drawn.
        CheckpointError: The checkpoint cannot be loaded.
    """
    sampler = find_sampler(request)
    canvas = open_canvas(request) if isinstance(request, ImageRequest) else None
    strength = DEFAULT_STRENGTH if request.denoising_strength is None else request.denoising_strength
    start = start_from(canvas, strength) if canvas else None
    previous = library.current
    checkpoint = _override(request, library)
    network = library.use(checkpoint)
    seeds, subseeds = choose_seeds(request)
    pictures: list[Image.Image] = []
    state.begin("scripts_img2img" if canvas else "scripts_txt2img", request.n_iter)
    try:
        for number in range(request.n_iter):
            part = slice(number * request.batch_size, (number + 1) * request.batch_size)
            drawing = Drawing(
                prompt=request.prompt,
                negative=request.negative_prompt or "",
                seeds=tuple(seeds[part]),
                subseeds=tuple(subseeds[part]),
                subseed_strength=request.subseed_strength,
                steps=request.steps,
                scale=request.cfg_scale,
                method=sampler.method,
                spacing=_schedule(request.scheduler)[1] or sampler.spacing,
                start=start,
            )
            state.start_job(number, len(drawing.grid) - 1)
            pixels = network.decode(_sample(network, drawing, state))
            pictures += [finish(picture, request.output_size, canvas) for picture in pixels]
            if state.moment.interrupted:
                break
    finally:
        timestamp = state.moment.job_timestamp
        state.end()
        if request.override_settings_restore_afterwards:
            library.current = previous
    report = _Report(request, checkpoint, sampler, seeds, subseeds, strength if canvas else None, timestamp)
    return report.answer(pictures)


def _override(request: GenerationRequest, library: Library) -> Checkpoint:
    """The checkpoint to draw with. An unknown name is ignored, as in the original: `info` says what was used."""
    name = (request.override_settings or {}).get("sd_model_checkpoint")
    matches = [checkpoint for checkpoint in library.checkpoints if str(name) in checkpoint.aliases]
    return matches[0] if matches else library.current


def _schedule(name: str | None) -> tuple[str, Spacing | None]:
    return SCHEDULERS.get((name or "").lower(), SCHEDULERS["automatic"])


def _sample(network: Network, drawing: Drawing, state: State) -> Floats:
    """Walks through the steps until the last one or until someone interrupts; one step is always done."""
    for number, latents in enumerate(draw(network, drawing), 1):
        if not state.step(number, network, latents):
            break
    return latents


@dataclass(frozen=True)
class _Report:
    """Everything that an answer says about its pictures."""

    request: GenerationRequest
    checkpoint: Checkpoint
    sampler: Sampler
    seeds: list[int]
    subseeds: list[int]
    strength: float | None
    timestamp: str

    def infotext(self, index: int) -> str:
        request = self.request
        parameters: dict[str, object] = {
            "Steps": request.steps,
            "Sampler": self.sampler.name,
            "Schedule type": _schedule(request.scheduler)[0],
            "CFG scale": request.cfg_scale,
            "Seed": self.seeds[index],
            "Size": f"{request.width}x{request.height}",
            "Model hash": self.checkpoint.short_hash,
            "Model": self.checkpoint.name,
        }
        if request.subseed_strength:
            parameters["Variation seed"] = self.subseeds[index]
            parameters["Variation seed strength"] = request.subseed_strength
        if self.strength is not None:
            parameters["Denoising strength"] = self.strength
        return images.write_infotext(request.prompt, request.negative_prompt or "", parameters | {"Version": VERSION})

    def answer(self, pictures: list[Image.Image]) -> dict[str, object]:
        request = self.request
        texts = [self.infotext(index) for index in range(len(pictures))]
        sheet = len(pictures) > 1 and not request.do_not_save_grid
        if sheet:  # the original puts a sheet of all pictures before them
            pictures, texts = [images.grid(pictures), *pictures], [texts[0], *texts]
        count = len(pictures) - sheet
        info = self._common() | {
            "all_prompts": [request.prompt] * count,
            "all_negative_prompts": [request.negative_prompt or ""] * count,
            "all_seeds": self.seeds[:count],
            "all_subseeds": self.subseeds[:count],
            "index_of_first_image": int(sheet),
            "infotexts": texts,
        }
        hidden = (
            {"init_images", "mask"} if isinstance(request, ImageRequest) and not request.include_init_images else ()
        )
        echo = {name: None if name in hidden else value for name, value in request.model_dump().items()}
        encoded = [images.encode(*pair) for pair in zip(pictures, texts, strict=True)] if request.send_images else []
        return {"images": encoded, "parameters": echo, "info": json.dumps(info)}

    def _common(self) -> dict[str, object]:
        request = self.request
        return {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt or "",
            "seed": self.seeds[0],
            "subseed": self.subseeds[0],
            "subseed_strength": request.subseed_strength,
            "width": request.width,
            "height": request.height,
            "sampler_name": self.sampler.name,
            "cfg_scale": request.cfg_scale,
            "steps": request.steps,
            "batch_size": request.batch_size,
            "restore_faces": False,
            "face_restoration_model": None,
            "sd_model_name": self.checkpoint.name,
            "sd_model_hash": self.checkpoint.short_hash,
            "sd_vae_name": None,
            "sd_vae_hash": None,
            "seed_resize_from_w": request.seed_resize_from_w,
            "seed_resize_from_h": request.seed_resize_from_h,
            "denoising_strength": self.strength,
            "extra_generation_params": {"Schedule type": _schedule(request.scheduler)[0]},
            "styles": request.styles or [],
            "job_timestamp": self.timestamp,
            "clip_skip": 1,
            "is_using_inpainting_conditioning": False,
            "version": VERSION,
        }
