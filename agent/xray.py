"""AWS X-Ray: traces as segments of its SDK, for the daemon or whatever else listens in its place."""

import socket

from aws_xray_sdk.core.models.entity import Entity
from aws_xray_sdk.core.models.segment import Segment
from aws_xray_sdk.core.models.subsegment import Subsegment

from agent.errors import JobError
from agent.tracing import SERVICE, Trace

# https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon
_HEADER = b'{"format": "json", "version": 1}\n'


class Daemon:
    """Sends traces to a daemon by UDP.

    The SDK's own emitter does not tell when nobody listens, and its recorder keeps the open segment in a thread.

    Args:
        address: `host:port`, or as the SDKs also take it: `tcp:host:port udp:host:port`.

    Raises:
        OSError: The host is not known, or there is no way to it.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition("udp:")[2].split()[0].rpartition(":")
        family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind)
        try:
            self._socket.connect(where)  # so that we hear when nobody listens
        except OSError:
            self._socket.close()
            raise

    def send(self, trace: Trace) -> None:
        """Send a trace; raises `OSError` if nobody listened to the one before."""
        self._socket.send(_HEADER + segment(trace).serialize().encode())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def segment(trace: Trace) -> Segment:
    """Return a trace as a segment that has ended, with a subsegment for each step."""
    by = trace.sender
    whole = Segment(SERVICE, traceid=by.trace_id if by else None, parent_id=by.parent_id if by else None)
    whole.start_time = trace.began
    for name, value in trace.annotations.items():
        whole.put_annotation(name, value)
    for step in trace.steps:
        part = Subsegment(step.name, "local", whole)
        part.start_time = step.began
        whole.add_subsegment(part)
        _end(part, step.ended, step.error)
    _end(whole, trace.ended, trace.error)
    return whole


def _end(entity: Entity, ended: float, error: str) -> None:
    if error:
        entity.add_exception(JobError(error, error), stack=[])
    entity.close(ended)
