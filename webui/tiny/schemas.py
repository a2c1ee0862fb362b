"""Requests of Stable Diffusion Web UI's API, with its names and defaults. What is not known is ignored, as there.

The bounds are ours: the original takes any number and runs out of memory on some.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST_ANSWER = 64 * 2**20
"""Of all pictures of a request together, in pixels."""

Side = Annotated[int, Field(ge=64, le=2048)]
Batch = Annotated[int, Field(ge=1, le=16)]
Steps = Annotated[int, Field(ge=1, le=150)]
Seed = Annotated[int, Field(ge=-1, le=2**63 - 1)]
Unit = Annotated[float, Field(ge=0, le=1)]
Prompt = Annotated[str, Field(max_length=10_000)]


class Request(BaseModel):
    """Base of all requests: unknown fields are ignored, and `model_` is no reserved prefix."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class GenerationRequest(Request):
    """What txt2img and img2img share. A seed of -1 stands for a random one."""

    prompt: Prompt = ""
    negative_prompt: Prompt | None = ""
    styles: list[str] | None = None
    seed: Seed = -1
    subseed: Seed = -1
    subseed_strength: Unit = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    sampler_name: str | None = None
    sampler_index: str | None = "Euler"
    scheduler: str | None = None
    batch_size: Batch = 1
    n_iter: Batch = 1
    steps: Steps = 50
    cfg_scale: Annotated[float, Field(ge=1, le=30)] = 7.0
    width: Side = 512
    height: Side = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    eta: float | None = None
    denoising_strength: Unit | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, object] | None = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool = False
    comments: dict[str, object] | None = None
    script_name: str | None = None
    script_args: list[object] = []
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: dict[str, object] = {}
    force_task_id: str | None = None
    infotext: str | None = None

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of the pictures that the answer has."""
        return self.width, self.height

    @model_validator(mode="after")
    def _check_answer(self) -> Self:
        width, height = self.output_size
        count = self.batch_size * self.n_iter
        if count * width * height > LARGEST_ANSWER:
            limit = LARGEST_ANSWER // 2**20
            raise ValueError(f"{count} pictures of {width}x{height} are more than {limit} megapixels: ask for less")
        return self


class TextRequest(GenerationRequest):
    """POST txt2img."""

    firstpass_image: str | None = None
    enable_hr: bool = False
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: Annotated[float, Field(ge=1, le=4)] = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    hr_resize_x: Annotated[int, Field(ge=0, le=4096)] = 0
    hr_resize_y: Annotated[int, Field(ge=0, le=4096)] = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""

    @property
    def output_size(self) -> tuple[int, int]:
        """The size after the high-resolution pass, if there is one."""
        if not self.enable_hr:
            return self.width, self.height
        x, y = self.hr_resize_x, self.hr_resize_y
        if not x and not y:
            return round(self.width * self.hr_scale), round(self.height * self.hr_scale)
        return x or round(y * self.width / self.height), y or round(x * self.height / self.width)


class ImageRequest(GenerationRequest):
    """POST img2img. Pictures are base64 or data URIs; `mask` is white where the picture may change."""

    init_images: list[str] | None = None
    resize_mode: Annotated[int, Field(ge=0, le=3)] = 0
    denoising_strength: Unit | None = 0.75
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur: Annotated[int, Field(ge=0, le=64)] | None = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float | None = None
    latent_mask: str | None = None
    include_init_images: bool = False


class ExtrasRequest(Request):
    """What the upscaling routes share. Mode 0 multiplies the size, mode 1 upscales to a size."""

    resize_mode: Annotated[int, Field(ge=0, le=1)] = 0
    show_extras_results: bool = True
    gfpgan_visibility: Unit = 0
    codeformer_visibility: Unit = 0
    codeformer_weight: Unit = 0
    upscaling_resize: Annotated[float, Field(gt=0, le=16)] = 2
    upscaling_resize_w: Annotated[int, Field(ge=1, le=4096)] = 512
    upscaling_resize_h: Annotated[int, Field(ge=1, le=4096)] = 512
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: Unit = 0
    upscale_first: bool = False


class SingleExtrasRequest(ExtrasRequest):
    """POST extra-single-image."""

    image: str = ""


class NamedImage(Request):
    """One picture of a batch."""

    data: str
    name: str


class BatchExtrasRequest(ExtrasRequest):
    """POST extra-batch-images."""

    image_list: list[NamedImage] = Field(alias="imageList", max_length=64)


class PngInfoRequest(Request):
    """POST png-info."""

    image: str
