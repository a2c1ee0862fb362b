"""A composition function that runs the script of its input, as function-python of crossplane-contrib does."""

import os
from types import ModuleType
from typing import Any

from crossplane.function import response, runtime
from crossplane.function.proto.v1 import run_function_pb2 as fnv1
from crossplane.function.proto.v1 import run_function_pb2_grpc as grpcv1


def run(request: fnv1.RunFunctionRequest) -> fnv1.RunFunctionResponse:
    """Return what the `compose` of the script in the request's input makes of the request."""
    answer = response.to(request)
    script = ModuleType("script")
    exec(str(request.input["script"]), script.__dict__)
    script.compose(request, answer)
    return answer


class FunctionPython(grpcv1.FunctionRunnerServiceServicer):
    """Serves `run`."""

    async def RunFunction(  # noqa: N802
        self, request: fnv1.RunFunctionRequest, _: Any
    ) -> fnv1.RunFunctionResponse:
        """Answer `request`."""
        return run(request)


def main() -> None:
    """Serve it as Crossplane expects it of a function's pod: on this port, with the certificates that it has made."""
    credentials = runtime.load_credentials(os.environ["TLS_SERVER_CERTS_DIR"])
    runtime.serve(FunctionPython(), "0.0.0.0:9443", creds=credentials, insecure=False)
