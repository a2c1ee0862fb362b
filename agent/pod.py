"""The agent's own pod, marked while it works: Karpenter leaves its node alone, a scale-in takes idle pods first."""

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

log = structlog.get_logger()

# Of pods of one ReplicaSet, those that cost less are deleted first; without the annotation a pod costs 0.
# https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
# https://karpenter.sh/docs/concepts/disruption/#pod-level-controls
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
MARKS = {DELETION_COST: "100", DO_NOT_DISRUPT: "true"}

POLL_S = 1.0
# Pods are not to be patched often: a pause shorter than this, between two jobs, leaves the marks where they are.
CALM_S = 30.0
RETRY_S = 30.0
# To connect, and to answer.
TIMEOUT_S = (3.0, 5.0)


class Pod(Protocol):
    """Whatever can annotate the agent's pod."""

    def annotate(self, annotations: dict[str, str | None]) -> None:
        """Set annotations, or remove those that are None; raises whatever goes wrong."""


class Marker:
    """Keeps the pod's marks as the agent is, busy or idle. No job waits for it, or feels what it fails at.

    Args:
        connect: Returns the pod; called in the marker's thread, again if it fails.
        busy: Returns whether work would be lost with the pod; asked every `poll_s` seconds.
        calm_s: How long the agent must have been idle to be unmarked.
        retry_s: How soon a mark that could not be set is tried again.
    """

    def __init__(
        self,
        connect: Callable[[], Pod],
        busy: Callable[[], bool],
        *,
        poll_s: float = POLL_S,
        calm_s: float = CALM_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._connect = connect
        self._busy = busy
        self._poll_s = poll_s
        self._calm_s = calm_s
        self._retry_s = retry_s
        self._pod: Pod | None = None
        # A container that was started again finds its predecessor's marks.
        self._marked: bool | None = None
        self._warned = False

    def start(self, stop: threading.Event) -> None:
        """Keep the marks in a thread of its own until `stop`; they stay as they are then: a drain is not disrupted."""
        threading.Thread(target=self._run, args=(stop,), name="pod", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        busy_at = time.monotonic()
        not_before = 0.0
        while not stop.wait(self._poll_s):
            now = time.monotonic()
            busy = self._busy()
            busy_at = now if busy else busy_at
            settled = busy or now - busy_at >= self._calm_s
            if settled and busy != self._marked and now >= not_before and not self._mark(busy):
                not_before = now + self._retry_s

    def _mark(self, busy: bool) -> bool:
        """Return whether the pod is marked as `busy` or not."""
        try:
            self._pod = self._pod or self._connect()
            self._pod.annotate(dict(MARKS) if busy else dict.fromkeys(MARKS))
        except Exception as error:  # noqa: BLE001 - of whatever kind, no job may feel it
            if not self._warned:
                self._warned = True
                log.warning("pod not marked", reason=_reason(error))
            return False
        if self._warned:
            self._warned = False
            log.info("pod marked again")
        self._marked = busy
        return True


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class KubernetesPod:
    """A pod, by the cluster's API server.

    Raises:
        Exception: There is no service account to speak to the API server with, or no client library.
    """

    def __init__(self, name: str, namespace: str) -> None:
        # Imported only where it is needed. The package's typed API takes many times the memory.
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config import load_incluster_config

        configuration = Configuration()
        configuration.retries = False  # the marker does that
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # it reads the token again in time
        self._client: Any = ApiClient(configuration)
        connections = self._client.rest_client.pool_manager.connection_pool_kw
        connections["ssl_context"] = _context(configuration.ssl_ca_cert)
        self._path = {"namespace": namespace, "name": name}

    def annotate(self, annotations: dict[str, str | None]) -> None:
        """Patch the pod; raises what the client does, and `OSError` for an answer that is none of success."""
        request = self._client.param_serialize(
            "PATCH",
            "/api/v1/namespaces/{namespace}/pods/{name}",
            path_params=dict(self._path),
            header_params={"Content-Type": "application/merge-patch+json", "Accept": "application/json"},
            body={"metadata": {"annotations": annotations}},
            auth_settings=["BearerToken"],
        )
        response = self._client.call_api(*request, _request_timeout=TIMEOUT_S)
        text = response.read().decode(errors="replace")
        if not 200 <= response.status < 300:
            raise OSError(f"the API server says {response.status} {response.reason}: {text}")


def _context(authority: str | None) -> ssl.SSLContext:
    """Return what connections to the API server are checked by.

    From Python 3.13 an authority must say its key's identifier, which that of EKS does not, and need not by RFC 5280.
    https://github.com/kubernetes-client/python/issues/2394
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
