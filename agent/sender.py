"""Whose trace a message belongs to, as its `AWSTraceHeader` tells."""

import re
from dataclasses import dataclass

# https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
_ROOT = re.compile(r"\bRoot=(1-[0-9a-f]{8}-[0-9a-f]{24})(?![^;\s])")
_PARENT = re.compile(r"\bParent=([0-9a-f]{16})(?![^;\s])")
_SAMPLED = re.compile(r"\bSampled=([01])(?![^;\s])")


@dataclass(frozen=True)
class Sender:
    """What a message's `AWSTraceHeader` says.

    Attributes:
        trace_id: The trace, in X-Ray's form.
        parent_id: The sender's segment in it, or empty.
    """

    trace_id: str
    parent_id: str = ""

    @property
    def header(self) -> str:
        """The header again, of a trace that is sampled."""
        parent = f";Parent={self.parent_id}" if self.parent_id else ""
        return f"Root={self.trace_id}{parent};Sampled=1"


def sender(header: str) -> tuple[Sender | None, bool]:
    """Return who sent a message with this `AWSTraceHeader`, and whether its trace is wanted.

    A header is from outside: one that makes no sense counts as none. Without a decision in it the trace is wanted, for
    jobs are few and dear.
    """
    root, parent, sampled = (pattern.search(header) for pattern in (_ROOT, _PARENT, _SAMPLED))
    wanted = sampled is None or sampled[1] == "1"
    return Sender(root[1], parent[1] if parent else "") if root else None, wanted
