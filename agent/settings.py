"""Everything the agent is told by its environment. `README.md` has the table."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Names = Annotated[frozenset[str], NoDecode]  # comma separated in the environment


class SettingsError(ValueError):
    """The environment does not make sense; the text has one line for each variable that must be mended."""


class Settings(BaseSettings):
    """The environment, checked. A field's variable is its name in capitals; an empty variable counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    # The guidance's variables.
    sqs_queue_url: str = Field(description="The runtime's queue.")
    sns_topic_arn: str = Field(description="The topic that is told how each job ended.")
    s3_bucket: str = Field(description="The bucket for pictures, output documents and job records.")
    runtime_name: str = Field(description="The runtime that this agent serves.")
    runtime_type: str = Field("sdwebui", description="Which adapter speaks to the inference server.")
    api_base_url: str = Field("http://localhost:8080", description="The server, with or without `/sdapi/v1`.")
    dynamic_sd_model: bool = Field(False, description="Whether a job may ask for any model that the server has.")
    sd_model_checkpoint: str | None = Field(None, description="The only model of a runtime that is not dynamic.")
    exp_callback_when_running: bool = Field(False, description="Whether a notice is sent when a job starts, too.")
    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least level logged.")
    aws_region: str = Field(
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="The AWS region; `AWS_DEFAULT_REGION` is understood, too.",
    )
    aws_endpoint_url: str | None = Field(None, description="An emulator in the place of AWS.")

    # Our own.
    visibility_timeout_seconds: int = Field(
        60, ge=3, le=43200, description="How long a message stays ours after a sign of life; renewed every third of it."
    )
    receive_wait_seconds: int = Field(
        10, ge=0, le=20, description="Length of a long poll, and so the time an idle agent may need to stop."
    )
    max_receive_count: int = Field(
        0, ge=0, description="How many times a job is tried: the last attempt leaves a result. 0: not known."
    )
    retry_seconds: int = Field(
        5, ge=0, le=900, description="Longest wait before the second attempt; doubles with each, to 15 minutes."
    )
    prefetch: int | None = Field(
        None, ge=0, le=8, description="Jobs made ready while another is on the GPU. Empty: 1, on a dynamic runtime 4."
    )
    affinity_seconds: float = Field(
        30, ge=0, description="For how long a ready job may be passed over by others whose model is loaded already."
    )
    finishers: int = Field(3, ge=1, le=16, description="Jobs put away at the same time while another is on the GPU.")
    job_timeout_seconds: float = Field(600, gt=0, description="Longest inference; then it is interrupted and fails.")
    finish_seconds: float = Field(300, gt=0, description="How long a finished job's result is offered to AWS.")
    drain_seconds: float = Field(90, ge=0, description="What a running job is given to end when the agent must stop.")
    allowed_input_hosts: Names = Field(
        frozenset(),
        description="Hosts that inputs may come from, `*.example.com` for all below one. Empty: any public.",
    )
    allowed_input_buckets: Names = Field(
        frozenset(), description="Buckets that inputs may come from, besides the output bucket."
    )
    allow_private_inputs: bool = Field(False, description="Whether inputs may come from private addresses: for tests.")
    max_input_bytes: int = Field(64 * 2**20, gt=0, description="Most bytes of all inputs of one job.")
    input_timeout_seconds: float = Field(30, gt=0, description="Longest download of one input.")
    max_answer_bytes: int = Field(
        256 * 2**20, gt=0, description="Most bytes of the inference server's answer to one job, outputs included."
    )
    health_host: str = Field(
        "0.0.0.0",  # noqa: S104 - the kubelet probes the pod's address
        description="The address for probes and metrics.",
    )
    health_port: int = Field(8081, ge=0, le=65535, description="The port for probes and metrics. 0: none.")
    tracing: Literal["none", "xray", "otlp"] = Field(
        "none",
        description="Where traces go: `none`, `xray` (a daemon), `otlp` (see `OTEL_EXPORTER_OTLP_ENDPOINT`).",
    )
    aws_xray_daemon_address: str = Field(
        "127.0.0.1:2000", pattern=r":\d+$", description="The X-Ray daemon, as `host:port`."
    )
    pod_name: str | None = Field(None, description="The agent's pod, which is marked while it works. Empty: it is not.")
    pod_namespace: str | None = Field(None, validate_default=True, description="The namespace of that pod.")
    darkroom_version: str = Field("dev", description="What the metrics call this build; the image sets it.")

    @property
    def ready_jobs(self) -> int:
        """How many jobs are made ready while another is on the GPU: more where models are worth choosing among."""
        if self.prefetch is not None:
            return self.prefetch
        return 4 if self.dynamic_sd_model else 1

    @field_validator("api_base_url")
    @classmethod
    def _root(cls, url: str) -> str:
        url = url.rstrip("/").removesuffix("/sdapi/v1").rstrip("/")
        return url if url.startswith(("http://", "https://")) else f"http://{url}"

    @field_validator("pod_namespace")
    @classmethod
    def _complete(cls, namespace: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("pod_name") and not namespace:
            raise ValueError("must be set with POD_NAME")
        return namespace

    @field_validator("runtime_name")
    @classmethod
    def _lower(cls, name: str) -> str:
        return name.lower()  # as in messages

    @field_validator("loglevel", mode="before")
    @classmethod
    def _upper(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    @field_validator("allowed_input_hosts", "allowed_input_buckets", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        if isinstance(names, str):
            return frozenset(name.strip().lower() for name in names.split(",") if name.strip())
        return names


def load() -> Settings:
    """Return the settings that the environment gives.

    Raises:
        SettingsError: Names every variable that is missing or wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])).upper()}: {_problem(e['type'], e['msg'])}" for e in error.errors())
        raise SettingsError("\n".join(lines)) from error


def _problem(kind: str, text: str) -> str:
    return "must be set" if kind == "missing" else text[:1].lower() + text[1:]
