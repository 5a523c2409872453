"""``vervet serve`` as a process: it says where it listens, ends cleanly, and refuses what cannot be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra 'serve'")
pytest.importorskip("uvicorn", reason="needs the extra 'serve'")

from bench.servers import get
from vervet.cli import main

ROOT = Path(__file__).parents[1]


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "vervet", "serve", "--port", "0", *options]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, line.split(" at ")[1].split()[0] if line else ""
    finally:
        process.kill()
        process.communicate()


def test_it_says_where_it_listens_answers_and_ends_on_ctrl_c() -> None:
    with serving("--model", "fake/iid?p=0.5", "--name", "mine") as (process, url):
        assert get(url + "/models")["data"][0]["id"] == "mine"
        body = {"model": "mine", "messages": [{"role": "user", "content": "a"}]}
        assert get(url + "/chat/completions", body)["choices"][0]["message"]["content"]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


def test_it_ends_on_ctrl_c_while_it_answers() -> None:
    with serving("--model", "fake/iid?p=0.5&delay_s=1") as (process, url):
        body = {"model": "fake/iid?p=0.5&delay_s=1", "messages": [{"role": "user", "content": "a"}], "stream": True}
        host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
        with socket.create_connection((host, int(port)), 30) as raw:
            data = json.dumps(body).encode()
            raw.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data)
            )
            get(url.removesuffix("/v1") + "/health")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_key_comes_from_the_environment() -> None:
    with serving("--model", "fake/iid", "--key-env", "MY_KEY", MY_KEY="s3cret") as (_, url):
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            get(url + "/models")
        refused.value.close()
        request = urllib.request.Request(url + "/models", headers={"Authorization": "Bearer s3cret"})
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response)["data"][0]["id"] == "fake/iid"


def test_mistakes_are_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, said in (
            (["--port", str(taken.getsockname()[1])], "cannot be had"),
            (["--port", "70000"], "from 0 to 65535"),
            (["--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY, but it is not set"),
            (["--model", "gpt"], "expected a model"),
        ):
            assert main(["serve", "--model", "fake/iid", *options]) == 2
            assert said in capsys.readouterr().err


@pytest.mark.local
def test_it_serves_the_embedded_model_by_default() -> None:
    with serving() as (process, url):
        assert get(url + "/models")["data"][0]["root"].startswith("embedded@")
        body = {"model": "embedded", "messages": [{"role": "user", "content": "Make 9 from 4, 5."}], "max_tokens": 5}
        assert get(url + "/chat/completions", body)["usage"]["completion_tokens"] <= 5
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
