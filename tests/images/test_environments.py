"""What an image installs and copies is all that its program needs: tried in a folder that has nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import serving
from tests.conftest import eventually
from tests.images.dockerfile import Dockerfile, read

# What each program says when it is started with nothing: enough of it has been loaded to say so.
AGENT = "S3_BUCKET: must be set"
API = "SNS_TOPIC_ARN: Field required"
EMPTY = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def image(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Dockerfile, Path, Path]:
    """An image's Dockerfile, the Python of an environment with its lock, and a folder with what it copies."""
    root = tmp_path_factory.mktemp("image")
    dockerfile = read(repository / request.param / "Dockerfile")
    (lock,) = [source for source, _ in dockerfile.context if source.startswith("requirements/")]
    uv = str(repository / ".cache/uv/bin/uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, root / "venv"], check=True)
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(root / "venv")]
    subprocess.run([*install, str(repository / lock)], check=True)
    for removed in re.findall(r"rm -r /venv/lib/python3\.13/(\S+)", " ".join(dockerfile.all("RUN"))):
        (found,) = (root / "venv/lib").glob(f"python3.*/{removed}")
        shutil.rmtree(found)
    for source, target in dockerfile.context:
        if source.startswith(("requirements/", "LICENSE")):
            continue
        skipped = shutil.ignore_patterns("__pycache__", "train", "Dockerfile")
        if (repository / source).is_dir():
            shutil.copytree(repository / source, root / "app" / target, ignore=skipped)
        else:
            (root / "app" / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / source, root / "app" / target)
    return dockerfile, root / "venv/bin/python", root / "app"


def run(image: tuple[Dockerfile, Path, Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the image's Python in the image's folder, with an empty environment."""
    _, python, folder = image
    command = [str(python), *arguments]
    return subprocess.run(command, check=False, cwd=folder, env=EMPTY, capture_output=True, text=True, timeout=60)


def entrypoint(image: tuple[Dockerfile, Path, Path]) -> list[str]:
    """Return the arguments of Python that the image starts with."""
    python, *arguments = image[0].last("ENTRYPOINT")
    assert python == "python"
    return arguments


@pytest.mark.parametrize("image", ["agent"], indirect=True)
def test_agents_image_has_what_the_agent_needs_and_says_which_settings_are_missing(
    image: tuple[Dockerfile, Path, Path],
) -> None:
    done = run(image, *entrypoint(image))
    assert done.returncode == 2
    assert AGENT in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("image", ["agent"], indirect=True)
def test_agents_image_can_mark_its_pod_and_trace(image: tuple[Dockerfile, Path, Path]) -> None:
    load = "import agent.otlp, agent.xray, kubernetes.client.api_client, kubernetes.config"
    done = run(image, "-c", load)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("image", ["api"], indirect=True)
def test_apis_image_runs_under_uvicorn_and_says_which_settings_are_missing(
    image: tuple[Dockerfile, Path, Path],
) -> None:
    done = run(image, "-m", "api", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert API in done.stderr


@pytest.mark.parametrize("image", ["api"], indirect=True)
def test_apis_image_answers_as_a_function_of_lambda(image: tuple[Dockerfile, Path, Path]) -> None:
    event = {
        "resource": "/healthz",
        "path": "/healthz",
        "httpMethod": "GET",
        "headers": {"Host": "api.example.com"},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "body": None,
        "isBase64Encoded": False,
        "requestContext": {"path": "/prod/healthz", "stage": "prod", "identity": {"sourceIp": "192.0.2.1"}},
    }
    asked, answers = threading.Event(), list[Any]()

    class RuntimeApi(BaseHTTPRequestHandler):
        """What Lambda offers to what runs in it: one event, and a place for the answer."""

        def do_GET(self) -> None:
            if asked.is_set():
                time.sleep(60)
            asked.set()
            self.answer(200, json.dumps(event).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answers.append((self.path.rpartition("/")[2], json.loads(body)))
            self.answer(202, b"{}")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 30_000))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:0:function:api")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    dockerfile, python, folder = image
    environ = EMPTY | {
        "SNS_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:jobs",
        "S3_OUTPUT_BUCKET": "outputs",
        "RUNTIMES_BUCKET": "config",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_LAMBDA_FUNCTION_NAME": "api",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(folder),
    }
    with serving(RuntimeApi) as url:
        environ["AWS_LAMBDA_RUNTIME_API"] = url.removeprefix("http://")
        command = [str(python), *entrypoint(image), *dockerfile.last("CMD")]
        function = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL)
        try:
            eventually(lambda: answers, "an answer")
        finally:
            function.kill()
            function.wait()
    kind, answer = answers[0]
    assert kind == "response", answer
    assert answer["statusCode"] == 200
    assert (folder / "api/console").is_dir()
    assert run(image, "-c", "from api.webhooks import handler").returncode == 0, "the other function's"


@pytest.mark.parametrize("image", ["webui/tiny"], indirect=True)
def test_tiny_models_image_has_the_server_and_its_model(image: tuple[Dockerfile, Path, Path]) -> None:
    done = run(image, *entrypoint(image), "--help")
    assert done.returncode == 0, done.stderr
    done = run(image, "-c", "from webui.tiny.library import SHIPPED, Library; print(Library(SHIPPED, None).current)")
    assert "tiny-shapes.safetensors" in done.stdout, done.stderr
