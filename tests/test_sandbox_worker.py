"""Workers: our own code under limits. What hangs, dies or eats memory costs one item, and the next one still works."""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vervet.sandbox import worker as module
from vervet.sandbox.worker import Worker

SELF = "trusted"
CODE = """
import os, signal, sys, time
def double(n): return 2 * n
def power(pair): return len(str(pair[0] ** pair[1]))
def hang(_):
    while True: pass
def hang_on(item):
    while item == "hang": pass
    return item
def hang_in_c(_): return (9 ** 9 ** 8) ** 9 % 7
def stubborn(_):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    time.sleep(60)
def eat(_): return len(bytearray(1 << 40))
def grow(_):
    rows = []
    while True: rows.append(bytearray(1 << 24))
def die(_): os._exit(3)
def fail(_): raise ValueError("no")
def odd(_): return {1, 2}
def chatter(n):
    print("noise"); sys.stdout.flush(); os.write(1, b"more noise\\n")
    return n
def whoami(_): return os.getpid()
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    (tmp_path / f"{SELF}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with Worker(memory_bytes=1 << 28) as worker:
        yield worker


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


def test_one_process_serves_many_calls(worker: Worker) -> None:
    assert worker.call(f"{SELF}:double", 7, 5).value == 14
    first, second = worker.map(f"{SELF}:whoami", [0, 0], 5)
    assert first.value == second.value != os.getpid()
    assert worker.map(f"{SELF}:double", [], 5) == []


@pytest.mark.parametrize(
    ("function", "ended"),
    [("hang", "wall"), ("hang_in_c", "wall"), ("stubborn", "wall"), ("eat", "memory"), ("grow", "memory"),
     ("die", "died"), ("fail", "raised"), ("odd", "raised"), ("absent", "raised")],
)  # fmt: skip
def test_what_goes_wrong_has_a_name_and_the_next_call_works(worker: Worker, function: str, ended: str) -> None:
    done = worker.call(f"{SELF}:{function}", 0, 0.5 if ended == "wall" else 20)
    assert (done.ended, done.ok, done.value) == (ended, False, None)
    assert done.reason
    assert worker.call(f"{SELF}:double", 3, 5).value == 6


def test_one_killed_item_costs_the_others_nothing(worker: Worker) -> None:
    done = worker.map(f"{SELF}:hang_on", [1, "hang", 2, "hang", 3], 0.5)
    assert [d.value for d in done] == [1, None, 2, None, 3]
    assert [d.ended for d in done] == ["ok", "wall", "ok", "wall", "ok"]


def test_patience_ends(worker: Worker) -> None:
    done = worker.map(f"{SELF}:hang_on", [1, "hang", 2, "hang", 3], 0.3, max_killed=1)
    assert [d.ended for d in done] == ["ok", "wall", "skipped", "skipped", "skipped"]


def test_what_a_library_prints_is_no_reply(worker: Worker) -> None:
    assert [d.value for d in worker.map(f"{SELF}:chatter", [1, 2, 3], 5)] == [1, 2, 3]


def test_any_text_crosses(worker: Worker) -> None:
    texts = ["\x00", "\ud800", "\n", "é" * 100_000, "\u2028"]
    assert [d.value for d in worker.map(f"{SELF}:hang_on", texts, 5)] == texts


def test_threads_share_a_worker(worker: Worker) -> None:
    results: dict[int, list[int]] = {}

    def work(start: int) -> None:
        results[start] = [d.value for d in worker.map(f"{SELF}:double", list(range(start, start + 23)), 5)]

    threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {100 * i: [2 * n for n in range(100 * i, 100 * i + 23)] for i in range(5)}


def test_a_child_that_was_killed_from_outside_is_replaced(worker: Worker) -> None:
    os.kill(worker.call(f"{SELF}:whoami", 0, 5).value, signal.SIGKILL)
    assert worker.call(f"{SELF}:double", 4, 5).value in (8, None)  # it may die in the middle of the call
    assert worker.call(f"{SELF}:double", 4, 5).value == 8


def test_an_interrupted_caller_leaves_no_replies_behind(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.call(f"{SELF}:double", 1, 5)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.map(f"{SELF}:double", [1, 2], 5)
    assert worker.call(f"{SELF}:double", 50, 5).value == 100


def test_a_worker_may_be_used_again_after_its_end(worker: Worker) -> None:
    worker.close()
    worker.close()
    assert worker.call(f"{SELF}:double", 2, 5).value == 4


PARENT = """
import sys, time
from vervet.sandbox.worker import Worker
worker = Worker()
print(worker.call("os:getpgid", 0, 5).value, flush=True)
{then}
"""


def _gone(pid: int, within_s: float) -> bool:
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("then", ["", "time.sleep(60)"], ids=["ends", "is killed"])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_dies_with_its_parent(then: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(then=then)], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if then:
            parent.kill()
        parent.wait(30)
        assert _gone(child, 20)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_busy_child_dies_soon_after_its_parent(tmp_path: Path) -> None:
    (tmp_path / f"{SELF}.py").write_text(CODE)
    then = f"sys.path.insert(0, {str(tmp_path)!r}); worker.close(); print(worker.call('{SELF}:whoami', 0, 5).value, flush=True)"
    code = PARENT.format(then=f"{then}\nworker.call('{SELF}:hang', 0, 2)")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        child = int(parent.stdout.readline())
        parent.kill()
        assert _gone(child, 30)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
