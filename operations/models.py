"""The model bucket: which folders a runtime looks in, and which models are there."""

from collections.abc import Iterator
from typing import Any

from generator.model import Config

# Where inference servers look, by the type of the runtime: for the web UI the folders that the guidance documents, for
# ComfyUI those of its folder_paths.py.
FOLDERS = {
    "sdwebui": (
        "CLIP",
        "Codeformer",
        "ControlNet",
        "ESRGAN",
        "GFPGAN",
        "LDSR",
        "Lora",
        "RealESRGAN",
        "ScuNET",
        "Stable-diffusion",
        "SwinIR",
        "VAE",
        "VAE-approx",
        "embeddings",
        "hypernetworks",
    ),
    "comfyui": (
        "audio_encoders",
        "checkpoints",
        "clip",
        "clip_vision",
        "controlnet",
        "diffusers",
        "diffusion_models",
        "embeddings",
        "gligen",
        "hypernetworks",
        "loras",
        "model_patches",
        "photomaker",
        "style_models",
        "text_encoders",
        "unet",
        "upscale_models",
        "vae",
        "vae_approx",
    ),
}
CHECKPOINTS = "Stable-diffusion"
EXTENSIONS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def problem(config: Config, kind: str, name: str) -> str | None:
    """Return why no runtime would find the file `name` in the folder `kind`, and how to mend it; None if one would."""
    types = {runtime.type for runtime in config.runtimes.values()}
    folders = sorted({folder for type_ in types for folder in FOLDERS.get(type_, ())})
    if kind not in folders:
        near = next((folder for folder in folders if folder.lower() == kind.lower()), None)
        mend = f"write KIND={near}" if near else f"use one of {', '.join(folders)}"
        return f"KIND: no runtime looks into the folder {kind!r}: {mend}"
    if not name.endswith(EXTENSIONS):
        return f"FILE: no runtime loads {name!r}: its name has to end in one of {', '.join(EXTENSIONS)}"
    return None


def listed(s3: Any, bucket: str) -> dict[str, int]:
    """Return the size in bytes of every file in the bucket, by its key.

    Raises:
        ClientError: The bucket cannot be listed.
    """
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


def report(config: Config, found: dict[str, int]) -> Iterator[tuple[bool, str]]:
    """Say for each runtime what it can load, and whether what it needs is there: (all is well, sentence)."""
    names = [key.removeprefix(f"{CHECKPOINTS}/") for key in found if key.startswith(f"{CHECKPOINTS}/")]
    checkpoints = sorted(name for name in names if name.endswith(EXTENSIONS))
    for runtime in config.runtimes.values():
        if runtime.type == "comfyui":
            yield True, f"{runtime.name}: whatever its workflows name, of {len(found)} files"
        elif runtime.dynamic_model:
            yield True, f"{runtime.name}: any of {', '.join(checkpoints) or 'none: no checkpoint is there'}"
        elif runtime.model_filename in checkpoints:
            yield True, f"{runtime.name}: {runtime.model_filename}"
        else:
            mend = f"`make upload-model FILE={runtime.model_filename} CLUSTER=…` brings it"
            yield False, f"{runtime.name}: {runtime.model_filename} is missing in {CHECKPOINTS}/; {mend}"
