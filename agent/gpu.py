"""Trouble of the GPU, as the errors of inference servers tell of it: not the job's fault."""

_OUT_OF_MEMORY = ("outofmemory", "out of memory", "allocation on device")
_BROKEN = ("cuda error", "cudnn", "hip error")


def is_out_of_memory(text: str) -> bool:
    """Return whether an error is about the GPU's memory."""
    return any(sign in text.casefold() for sign in _OUT_OF_MEMORY)


def is_trouble(text: str) -> bool:
    """Return whether an error is about the GPU rather than about the request."""
    return is_out_of_memory(text) or any(sign in text.casefold() for sign in _BROKEN)
