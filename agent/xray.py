"""AWS X-Ray: traces as segment documents, for the daemon or whatever else listens in its place."""

import json
import secrets
import socket
import time
from typing import Any

from agent.tracing import SERVICE, Step, Trace

# https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon
_HEADER = b'{"format": "json", "version": 1}\n'


class Daemon:
    """Sends traces to a daemon by UDP.

    Args:
        address: `host:port`, or as the SDKs also take it: `tcp:host:port udp:host:port`.

    Raises:
        OSError: The host is not known.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition("udp:")[2].split()[0].rpartition(":")
        family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind)
        self._socket.connect(where)  # so that we hear when nobody listens

    def send(self, trace: Trace) -> None:
        """Send a trace; raises `OSError` if nobody listened to the one before."""
        self._socket.send(_HEADER + json.dumps(segment(trace)).encode())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def segment(trace: Trace) -> dict[str, Any]:
    """Return a trace as a segment document.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
    """
    own = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    document = _timed(Step(SERVICE, trace.began, trace.ended, trace.error)) | {
        "trace_id": trace.sender.trace_id if trace.sender else own,
        "annotations": trace.annotations,
        "subsegments": [_timed(step) for step in trace.steps],
    }
    return document | {"parent_id": trace.sender.parent_id} if trace.sender and trace.sender.parent_id else document


def _timed(step: Step) -> dict[str, Any]:
    timed = {"name": step.name, "id": secrets.token_hex(8), "start_time": step.began, "end_time": step.ended}
    if not step.error:
        return timed
    exception = {"id": secrets.token_hex(8), "type": step.error, "message": step.error}
    return timed | {"fault": True, "cause": {"exceptions": [exception]}}
