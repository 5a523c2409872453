"""The local model: prompts that cannot be forged, samples that depend on their address alone, calls that end."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import SPECIALS, write_folder
from vervet.errors import MissingExtra, Mistake, ModelError, OverContext, Unsupported
from vervet.models.endings import truncated
from vervet.models.local import EMBEDDED, LocalCall, LocalModel, load
from vervet.types import Bill, Endings, Question, Request, Sample, Stream, Trace

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LocalModel:
    return LocalModel(folder, slots=37, threads=1)


def asked(text: str = "Hm?", **settings: Any) -> Question:
    return Question(messages=({"role": "user", "content": text},), **settings)


def stream(model: LocalModel, question: Question) -> Stream:
    return Stream(model.name, question.digest)


@dataclass
class Got:
    """What a call brought."""

    samples: dict[int, Sample]
    bill: Bill
    bills: list[Bill]

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


async def collected(call: LocalCall) -> Got:
    got = Got({}, Bill(), [])
    async for delivery in call:
        assert isinstance(delivery.outcome, Sample)
        assert delivery.index not in got.samples
        got.samples[delivery.index] = delivery.outcome
        got.bill += delivery.bill
        got.bills.append(delivery.bill)
    return got


async def drawn(
    model: LocalModel, question: Question, n: int, so_far: Mapping[int, Sample] | None = None, **endings: Any
) -> Got:
    request = Request(question, Endings(**endings))
    async with model.draw(request, stream(model, question), range(n), so_far) as call:
        return await collected(call)


def draw(*args: Any, **kwargs: Any) -> Got:
    return asyncio.run(drawn(*args, **kwargs))


def ids_of(sample: Sample) -> list[int]:
    assert sample.trace is not None
    return sample.trace.ids.tolist()


# --- prompts ---------------------------------------------------------------------------------------------


def test_a_prompt_is_the_template_over_the_messages(model: LocalModel) -> None:
    question = Question(({"role": "system", "content": "é"}, {"role": "user", "content": "1"}), prefill="<think>a")
    bos, system, user, assistant, think = (
        SPECIALS.index(t) for t in ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<think>")
    )
    codec = model._codec
    ids = codec.encode(question)
    assert [i for i in ids if i < len(SPECIALS)] == [bos, system, user, assistant, think]
    assert b"".join(codec.bytes_of(i) or b"|" for i in ids).decode() == "||é|1||a".replace("|a", "|a")
    assert model.count(question) == len(ids) == 9
    assert codec.thinks(ids)
    assert not codec.thinks(codec.encode(asked()))


def test_what_a_user_writes_never_becomes_a_special_token(model: LocalModel) -> None:
    rng = random.Random(0)
    parts = [*SPECIALS, "<", "|>", "\ue000", "0", "\ue001", "\ue0000\ue001", "é", "x", "<|eo"]
    n_specials = sum(i < len(SPECIALS) for i in model._codec.encode(asked("")))
    for _ in range(300):
        text = "".join(rng.choices(parts, k=rng.randint(1, 6)))
        ids = model._codec.encode(asked(text))
        assert sum(i < len(SPECIALS) for i in ids) == n_specials
        assert b"".join(model._codec.bytes_of(i) or b"" for i in ids).decode() == text


def test_prompts_agree_with_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    home = ROOT / "src" / "vervet" / "models" / "embedded"
    if not (home / "tokenizer.json").exists():
        pytest.skip("the embedded model is not here")
    theirs = transformers.AutoTokenizer.from_pretrained(home)
    ours = LocalModel(home)
    for text in ("Make 18 from 75, 6, 3 with + - * /, each number at most once. Think first.", "Was ist 3 × 4?\n\n  é"):
        messages = [{"role": "user", "content": text}]
        want = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)[
            "input_ids"
        ]
        assert ours._codec.encode(asked(text)) == list(want)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "eos", "content": "x"},
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "user", "content": "x", "name": "y"},
    ],
)
def test_messages_that_the_template_may_not_see(model: LocalModel, message: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        model.count(Question((message,)))


# --- samples ---------------------------------------------------------------------------------------------


def test_a_sample_is_a_function_of_its_address(model: LocalModel, folder: Path) -> None:
    question = asked(temperature=0.9, top_p=0.95)
    many = draw(model, question, 50, max_tokens=60)
    again = draw(LocalModel(folder, slots=3), question, 7, max_tokens=60)
    assert [again[i] for i in range(7)] == [many[i] for i in range(7)]
    assert len({tuple(ids_of(s)) for s in many.samples.values()}) == 50
    assert {s.address.index for s in many.samples.values()} == set(range(50))


def test_every_other_process_draws_the_same(model: LocalModel, folder: Path) -> None:
    code = f"""
import asyncio, tests.test_models_local as t
from pathlib import Path
m = t.LocalModel(Path({str(folder)!r}))
print([t.ids_of(s) for _, s in sorted(t.draw(m, t.asked(), 5, max_tokens=40).samples.items())])"""
    here = [ids_of(s) for _, s in sorted(draw(model, asked(), 5, max_tokens=40).samples.items())]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120,
                          env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PATH": ""})  # fmt: skip
    assert done.stdout.strip() == str(here), done.stderr


def test_cut_short_and_followed_later_is_the_sample_drawn_at_once(model: LocalModel) -> None:
    whole = draw(model, asked(), 23, max_tokens=90)
    short = draw(model, asked(), 23, max_tokens=20)
    for i, s in short.samples.items():
        assert s == truncated(whole[i], Endings(max_tokens=20))
    followed = draw(model, asked(), 23, short.samples, max_tokens=90)
    assert followed.samples == whole.samples
    assert followed.bill.completion_tokens == sum(s.n_tokens for s in whole.samples.values()) - sum(
        s.n_tokens for s in short.samples.values()
    )


def test_what_is_known_already_costs_nothing(model: LocalModel) -> None:
    whole = draw(model, asked(), 5, max_tokens=30)
    again = draw(model, asked(), 5, whole.samples, max_tokens=11)
    assert again.bill == Bill()
    assert all(again[i] == truncated(whole[i], Endings(max_tokens=11)) for i in range(5))


def test_the_bill_counts_the_prompt_once_and_every_new_token(model: LocalModel) -> None:
    got = draw(model, asked(), 9, max_tokens=13)
    assert [b.prompt_tokens for b in got.bills] == [model.count(asked())] + [0] * 8
    assert got.bill.completion_tokens == sum(s.n_tokens for s in got.samples.values())


def test_the_end_of_a_text(model: LocalModel) -> None:
    got = draw(model, asked(), 40)
    room = 419 - model.count(asked())
    eos = [s for s in got.samples.values() if s.ended == "eos"]
    assert eos
    assert all(ids_of(s)[-1] == 2 and not s.is_open for s in eos)
    assert all(s.n_tokens == room for s in got.samples.values() if s.ended == "length")
    held = draw(model, asked(), 20, min_tokens=300)
    assert all(s.n_tokens >= 300 and 2 not in ids_of(s)[:300] for s in held.samples.values())


def test_texts_and_ends_are_those_of_the_bytes(model: LocalModel) -> None:
    for s in draw(model, asked(), 40, max_tokens=150).samples.values():
        assert s.trace is not None and s.trace.ends is not None
        assert s.trace.ends[-1] == len(s.reasoning) + len(s.text)
        assert list(s.trace.ends) == sorted(s.trace.ends)
        ids = ids_of(s)
        if not any(i < len(SPECIALS) for i in ids):
            whole = b"".join(model._codec.bytes_of(i) or b"" for i in ids).decode(errors="replace")
            assert whole.startswith(s.text) and set(whole[len(s.text) :]) <= {"\ufffd"}


def test_reading_marks_and_split_characters(model: LocalModel) -> None:
    from vervet.models.text import Reading

    think, unthink, eos = (SPECIALS.index(t) for t in ("<think>", "</think>", "<|eos|>"))
    byte = {model._codec.bytes_of(i): i for i in range(len(SPECIALS), 264)}
    e_acute = [byte[b"\xc3"], byte[b"\xa9"]]
    r = Reading(model._codec, thinking=False)
    for token in [think, byte[b"a"], *e_acute, unthink, byte[b"b"], e_acute[0], byte[b"c"], think, e_acute[0], eos]:
        r.feed(token)
    assert (r.reasoning, r.text) == ("aé", "b\ufffdc\ufffd")
    assert r.ends.tolist() == [0, 1, 1, 2, 2, 3, 3, 5, 5, 5, 6]


@pytest.mark.parametrize("stop", [("e",), ("e", "\n"), ("a", "b", "c", "d")])
def test_stop_strings_live_are_those_of_the_whole_text(model: LocalModel, stop: tuple[str, ...]) -> None:
    whole = draw(model, asked(), 40, max_tokens=120)
    got = draw(model, asked(), 40, max_tokens=120, stop=stop)
    assert {i: truncated(s, Endings(max_tokens=120, stop=stop)) for i, s in whole.samples.items()} == got.samples
    assert any((s.ended or "").startswith("stop:") for s in got.samples.values())


@dataclass(frozen=True)
class Unsure:
    """A cut after the third token whose logprob is below -6."""

    name: str = "unsure"

    def fires_at(self, trace: Trace) -> int | None:
        assert trace.logprob is not None
        low = [i + 1 for i, x in enumerate(trace.logprob) if x < -6]
        return low[2] if len(low) > 2 else None


def test_a_cut_ends_the_sample_at_its_token(model: LocalModel) -> None:
    whole = draw(model, asked(temperature=1.5), 30, max_tokens=60)
    got = draw(model, asked(temperature=1.5), 30, max_tokens=60, cut=Unsure())
    assert {i: truncated(s, Endings(max_tokens=60, cut=Unsure())) for i, s in whole.samples.items()} == got.samples
    assert any(s.ended == "cut:unsure" for s in got.samples.values())
    assert got.bill.completion_tokens == sum(s.n_tokens for s in got.samples.values())
    followed = draw(model, asked(temperature=1.5), 30, got.samples, max_tokens=60)
    assert followed.samples == whole.samples


def test_temperature_zero_is_one_sample(model: LocalModel) -> None:
    got = draw(model, asked(temperature=0), 3, max_tokens=20)
    assert len({tuple(ids_of(s)) for s in got.samples.values()}) == 1


# --- calls -----------------------------------------------------------------------------------------------


def test_stop_brings_what_was_computed_as_open_samples(model: LocalModel) -> None:
    question = asked("long")

    async def main() -> Got:
        request = Request(question, Endings(min_tokens=90, max_tokens=90))
        async with model.draw(request, stream(model, question), range(60)) as call:
            while not any(len(r.ids) >= 5 for r in list(call._jobs)):  # noqa: ASYNC110 - the engine sets no event
                await asyncio.sleep(0.001)
            call.stop()
            return await collected(call)

    got = asyncio.run(main())
    assert len(got.samples) == 37  # those in the slots; the others had not begun
    assert all(s.ended is None and s.is_open and s.n_tokens >= 5 for s in got.samples.values())
    assert got.bill.completion_tokens == sum(s.n_tokens for s in got.samples.values())
    followed = draw(model, question, 37, got.samples, min_tokens=90, max_tokens=90)
    assert followed.samples == draw(model, question, 37, min_tokens=90, max_tokens=90).samples


def test_leaving_a_call_ends_its_work_and_many_calls_share_the_engine(model: LocalModel) -> None:
    async def left_early() -> None:
        request = Request(asked("left"), Endings(min_tokens=400))
        async with model.draw(request, stream(model, asked("left")), range(500)):
            await asyncio.sleep(0.05)

    async def main() -> list[Got]:
        async with asyncio.TaskGroup() as group:
            group.create_task(left_early())
            tasks = [group.create_task(drawn(model, asked(f"{i}"), 11, max_tokens=30)) for i in range(7)]
        return [t.result() for t in tasks]

    def n_threads() -> int:
        return sum(thread.name == "vervet-engine" for thread in threading.enumerate())

    n_before = n_threads()
    together = asyncio.run(main())
    assert [got.samples for got in together] == [
        draw(model, asked(f"{i}"), 11, max_tokens=30).samples for i in range(7)
    ]
    assert model._worker.calls == []
    assert n_threads() <= n_before + 1  # one for the model, whatever the number of calls


def test_an_error_in_the_engine_reaches_every_waiting_call_and_the_next_draw_starts_anew(folder: Path) -> None:
    model = LocalModel(folder)

    class Broken:
        name = "broken"

        def fires_at(self, trace: Trace) -> int | None:
            raise ZeroDivisionError("a broken rule")

    async def main() -> list[Any]:
        calls = [drawn(model, asked("1"), 3, min_tokens=300), drawn(model, asked("2"), 3, cut=Broken())]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(e) for e in asyncio.run(main())] == [ModelError, ModelError]
    assert len(draw(model, asked(), 3, max_tokens=4).samples) == 3


def test_weights_that_cannot_be_loaded(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(
            path.read_bytes()[:5000] if path.suffix == ".safetensors" else path.read_bytes()
        )
    with pytest.raises(ModelError, match="engine failed"):
        draw(LocalModel(tmp_path), asked(), 1)


def test_what_the_memory_cannot_hold_is_refused_and_other_calls_go_on(folder: Path) -> None:
    small = LocalModel(folder, slots=1, max_tokens_kept=256)
    question = asked()

    async def both() -> Any:
        tight, wide = Request(question, Endings(max_tokens=50)), Request(question, Endings())
        async with small.draw(tight, stream(small, question), [0]) as fits:
            with pytest.raises(Mistake, match=r"at most 1 pages of 128 tokens .* allow more tokens or ask for fewer"):
                async with small.draw(wide, stream(small, question), [1]) as too_long:
                    await anext(too_long)
            return (await anext(fits)).outcome

    assert asyncio.run(both()) == draw(LocalModel(folder), question, 1, max_tokens=50)[0]


def test_a_call_of_nothing_ends(model: LocalModel) -> None:
    assert draw(model, asked(), 0).samples == {}


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"tools": ({"type": "function"},)}, {"response_format": {"type": "json_object"}}, {"presence_penalty": 0.5},
     {"frequency_penalty": 0.5}, {"reasoning_effort": "low"}],
)  # fmt: skip
def test_fields_that_are_not_supported_are_named(model: LocalModel, settings: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=next(iter(settings))):
        draw(model, asked(**settings), 1)


@pytest.mark.parametrize(
    "endings", [{"max_tokens": 0}, {"min_tokens": -1}, {"stop": ("",)}, {"logprobs": 65}, {"logprobs": -1}]
)
def test_endings_out_of_range_are_named(model: LocalModel, endings: dict[str, Any]) -> None:
    with pytest.raises(Mistake, match=next(iter(endings))):
        draw(model, asked(), 1, **endings)
    with pytest.raises(Mistake, match="temperature"):
        draw(model, asked(temperature=-1), 1)


def test_a_prompt_that_leaves_no_room_says_the_numbers(model: LocalModel) -> None:
    with pytest.raises(OverContext, match=r"419 tokens.*takes 503"):
        draw(model, asked("x" * 500), 1)


def test_following_needs_token_ids(model: LocalModel) -> None:
    known = Sample(stream(model, asked()).at(0), "a", "length", 1)
    with pytest.raises(Unsupported, match="token ids"):
        draw(model, asked(), 1, {0: known}, max_tokens=5)


def test_unknown_names_and_folders(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(Mistake, match="embedded"):
        load("no-such-model")
    with pytest.raises(Mistake, match=r"tokenizer\.json"):
        load(str(tmp_path))
    with pytest.raises(Mistake, match="float16"):
        LocalModel(folder, dtype="float16")


def test_the_name_tells_weights_and_dtype_apart(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "tiny", seed=1)
    names = [LocalModel(folder).name, LocalModel(other).name, LocalModel(folder, dtype="float32").name]
    assert len(set(names)) == 3
    assert names[2] == names[0] + "+fp32"
    assert LocalModel(folder, dtype="bfloat16").name == names[0]
    assert names[0].startswith("tiny@")


def test_without_torch_the_error_is_the_install_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"torch is not installed; run: pip install 'vervet\[local\]'"):
        LocalModel(folder)


def test_opening_a_model_does_not_import_torch(folder: Path) -> None:
    code = f"import sys; from vervet.models.local import LocalModel; LocalModel({str(folder)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
                          env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""})  # fmt: skip
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_models(name: str) -> None:
    if not (ROOT / "src" / "vervet" / "models" / name / "model.safetensors").exists():
        pytest.skip("the embedded model is not here")
    model = load(name)
    assert model.name.startswith(f"{name}@")
    assert model.dialect == "embedded"
    assert model.supports.roles == {"answer", "repair"}
    question = asked("Make 18 from 75, 6, 3 with + - * /, each number at most once. Think first.")
    got = draw(model, question, 8, max_tokens=400)
    assert any("Answer:" in s.text and s.reasoning for s in got.samples.values())
    cut = {i: replace(s, address=s.address) for i, s in draw(model, question, 8, max_tokens=20).samples.items()}
    assert draw(model, question, 8, cut, max_tokens=400).samples == got.samples
