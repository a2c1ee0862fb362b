"""Darkroom's client: jobs from Python, and from the command line as `darkroom`."""

from .client import Client
from .errors import ApiError, DarkroomError, JobFailedError, RefusedError, UnreachableError
from .models import Job, Runtime

__all__ = [
    "ApiError",
    "Client",
    "DarkroomError",
    "Job",
    "JobFailedError",
    "RefusedError",
    "Runtime",
    "UnreachableError",
]
