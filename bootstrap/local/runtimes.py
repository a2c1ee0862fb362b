"""Runtimes, as far as this machine can run them: what their Helm Applications ask for, and the programs for it."""

import sys
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

# For somebody who watches, and where a request costs nothing: what a lost agent held is taken up soon, and an idle one
# stops at once.
IMPATIENCE = {"VISIBILITY_TIMEOUT_SECONDS": "15", "RECEIVE_WAIT_SECONDS": "1"}


class UnusableClusterError(Exception):
    """A cluster that cannot run here; the text says why and what to do."""


@dataclass(frozen=True)
class Runtime:
    """What this machine needs to know of a runtime's Helm Application.

    Attributes:
        type: What its inference server speaks.
        model: The checkpoint it serves; None when it loads any.
    """

    name: str
    type: str
    model: str | None

    @classmethod
    def of(cls, application: Manifest) -> "Runtime":
        """Return the runtime that `application` deploys.

        Raises:
            UnusableClusterError: It is not such an Application as the generator makes.
        """
        name = application["metadata"]["name"]
        try:
            values = application["spec"]["source"]["helm"]["valuesObject"]["runtime"]
            return cls(name, values["type"], values.get("inferenceApi", {}).get("modelFilename") or None)
        except (KeyError, TypeError, AttributeError) as error:
            raise UnusableClusterError(
                f"Application {name} has no Helm values of a runtime: run `make render`"
            ) from error

    @property
    def server(self) -> str:
        """The name of its inference server's program."""
        return f"{self.name}-webui"

    @property
    def agent(self) -> str:
        """The name of its agent's program."""
        return f"{self.name}-agent"

    @property
    def config_map(self) -> str:
        """The name of the ConfigMap that its claim is composed into."""
        return f"{self.name}-inference"

    def obstacle(self, models: frozenset[str]) -> str | None:
        """Return why it cannot run here, or None.

        Args:
            models: The file names of the checkpoints that there are.
        """
        if self.type != "sdwebui":
            return f"its type is {self.type}, and only sdwebui has an inference server that runs here"
        if self.model and self.model not in models:
            return f"there is no model {self.model} here, but {', '.join(sorted(models))}; or say `dynamicModel: true`"
        return None

    def server_command(self, port: int) -> tuple[list[str], dict[str, str]]:
        """Return the command line of its inference server, and what it adds to the environment."""
        command = [sys.executable, "-m", "webui.tiny", "--host", "127.0.0.1", "--port", str(port)]
        return command, {"SD_MODEL_CHECKPOINT": self.model} if self.model else {}

    def agent_command(self, config: dict[str, str], server_url: str, port: int) -> tuple[list[str], dict[str, str]]:
        """Return the command line of its agent, and what it adds to the environment.

        Args:
            config: The data of the runtime's ConfigMap.
            server_url: Where its inference server listens.
            port: The port for health and metrics.
        """
        model = {"SD_MODEL_CHECKPOINT": self.model} if self.model else {"DYNAMIC_SD_MODEL": "true"}
        return [sys.executable, "-m", "agent"], {
            **config,
            "RUNTIME_TYPE": self.type,
            "API_BASE_URL": f"{server_url}/sdapi/v1/",
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(port),
            **IMPATIENCE,
            **model,
        }
