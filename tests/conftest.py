"""What holds for every test: no network beyond loopback, no money, a cache of its own, the same draws every time."""

from __future__ import annotations

import gc
import importlib.util
import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real_servers import llama_server, vervet_server

__all__ = ["llama_server", "vervet_server"]

try:
    import hypothesis
except ImportError:  # the tests that need it skip themselves
    pass
else:
    hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=50)
    hypothesis.settings.load_profile("house")


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # begun in the background: what tests start would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)
_COLLECTING = gc.get_threshold()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """The command line hardly collects, since its process does little else; here that would keep pools and files open."""
    yield
    gc.set_threshold(*_COLLECTING)


class NetworkUsed(BaseException):
    """A test tried to reach beyond loopback. Not an Exception, so that no retry swallows it."""


def is_local(host: Any) -> bool:
    """True for loopback and for the absence of a host."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refuse_beyond_loopback(host: Any) -> None:
    """Raise unless the host is this machine."""
    if not is_local(host):
        raise NetworkUsed(f"a test reached for {host!r}; tests may talk to 127.0.0.1, ::1 and localhost alone")


def guarded(call: Any, address_at: int) -> Any:
    """The socket method, after a look at the address among its arguments."""

    def method(self: socket.socket, *args: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse_beyond_loopback(args[address_at][0])
        return call(self, *args)

    return method


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Sockets reach loopback alone, and names of other machines are not looked up."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_beyond_loopback(host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        for name, address_at in {"connect": 0, "connect_ex": 0, "sendto": -1}.items():
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), address_at))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache directory of its own, no keys, nothing downloaded; child processes inherit it."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("VERVET_") or name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL")):
                patch.delenv(name)
        patch.setenv("VERVET_CACHE", str(cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        patch.setenv("COLUMNS", "120")
        patch.setenv("NO_COLOR", "1")
        yield cache


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``local`` are skipped, with the command that would run them, where the extra is absent."""
    if all(importlib.util.find_spec(name) for name in ("torch", "tokenizers", "safetensors")):
        return
    absent = pytest.mark.skip(reason="needs the extra 'local': pip install -c constraints.txt -e '.[local]'")
    for item in items:
        if item.get_closest_marker("local"):
            item.add_marker(absent)
