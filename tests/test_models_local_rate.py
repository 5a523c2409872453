"""Rating texts: logprobs of a language model, values of a reward model, in the engine's thread beside its samples."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.local

from tests.tiny import SPECIALS, config_json, random_weights, write_folder  # noqa: E402
from vervet.engine import load  # noqa: E402
from vervet.errors import Mistake, ModelError, OverContext, Unsupported  # noqa: E402
from vervet.models.local import LocalModel  # noqa: E402
from vervet.types import Endings, Question, Request, Sample, Score, Stream  # noqa: E402

ROOT = Path(__file__).parents[1]
BOS = SPECIALS.index("<|bos|>")
TEXTS = ["a", "Was ist 3 × 4?", "<|bos|><|user|>Hm?<|assistant|>no", "x" * 418]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LocalModel:
    return LocalModel(folder, dtype="float32", threads=1)


def rate(model: LocalModel, *texts: str) -> list[Score]:
    return asyncio.run(model.rate(texts))


def ids_of(model: LocalModel, text: str) -> list[int]:
    return model._codec.encode(Question(({"role": "prompt", "content": text},)))


def value_of(score: Score) -> float:
    assert score.value is not None and not score.not_judged
    return score.value


def valued(folder: Path, n_labels: int = 1) -> Path:
    """The same folder as a reward model: a value head instead of one over the vocabulary."""
    from safetensors.torch import save_file

    write_folder(folder)
    data = json.loads((folder / "config.json").read_text()) | {
        "architectures": ["LlamaForSequenceClassification"],
        "id2label": {str(i): f"LABEL_{i}" for i in range(n_labels)},
        "dtype": "float32",
    }
    weights = random_weights(config_json(vocab_size=264))
    del weights["lm_head.weight"]
    g = torch.Generator().manual_seed(1)
    weights["score.weight"] = torch.randn(n_labels, 42, generator=g)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(data))
    return folder


# --- a language model ------------------------------------------------------------------------------------


def test_the_value_is_the_mean_logprob_of_all_tokens_after_the_first(model: LocalModel, folder: Path) -> None:
    llama = load(folder, "float32")
    for text, score in zip(TEXTS, rate(model, *TEXTS), strict=True):
        ids = ids_of(model, text)
        assert ids[0] == BOS and ids.count(BOS) == 1
        logp = llama.logits(ids).double().log_softmax(-1)
        want = math.fsum(float(logp[t - 1, ids[t]]) for t in range(1, len(ids))) / (len(ids) - 1)
        assert value_of(score) == pytest.approx(want, abs=1e-5)
        assert score == Score(value=score.value)


@pytest.mark.filterwarnings("ignore")
def test_the_value_agrees_with_transformers(model: LocalModel, folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for text, score in zip(TEXTS, rate(model, *TEXTS), strict=True):
        ids = torch.tensor([ids_of(model, text)])
        with torch.no_grad():
            loss = theirs(ids, labels=ids).loss
        assert value_of(score) == pytest.approx(-float(loss), abs=1e-4)


def test_a_drawn_sample_is_rated_as_its_own_figures_say(model: LocalModel) -> None:
    question = Question(({"role": "user", "content": "Hm?"},))
    prompt, sample = "<|bos|><|user|>Hm?<|assistant|>", None
    n_prompt = len(ids_of(model, prompt))
    for i in range(40):
        sample = draw(model, question, i)
        if not any(t < len(SPECIALS) for t in sample.trace.ids) and "\ufffd" not in sample.text:
            break
    assert sample.trace.logprob is not None
    whole, alone = (value_of(s) for s in rate(model, prompt + sample.text, prompt))
    n = n_prompt + len(sample.trace.ids)
    assert len(ids_of(model, prompt + sample.text)) == n
    completion = whole * (n - 1) - alone * (n_prompt - 1)
    assert completion == pytest.approx(math.fsum(sample.trace.logprob), abs=1e-2)


def draw(model: LocalModel, question: Question, index: int = 0, **endings: Any) -> Any:
    async def main() -> Sample:
        request = Request(question, Endings(**{"max_tokens": 4, **endings}))
        async with model.draw(request, Stream(model.name, question.digest), [index]) as call:
            outcome = (await call.__anext__()).outcome
            assert isinstance(outcome, Sample)
            return outcome

    return asyncio.run(main())


def test_a_score_does_not_depend_on_the_other_texts(folder: Path) -> None:
    model = LocalModel(folder)  # bfloat16
    texts = [f"{i}" * (1 + i * 7 % 60) for i in range(37)]
    together = rate(model, *texts)
    assert together == [rate(model, t)[0] for t in texts] == rate(model, *reversed(texts))[::-1]
    assert len({value_of(s) for s in together}) == 37


def test_what_cannot_be_rated_says_why(model: LocalModel) -> None:
    empty, one, whole = rate(model, "", "<|bos|>", "ab")
    assert empty == Score(not_judged="the text is empty")
    assert one == Score(not_judged="one token, with nothing before it")
    assert value_of(whole) < 0
    assert rate(model) == []


def test_without_a_token_that_begins_texts_the_first_one_is_only_given(tmp_path: Path, model: LocalModel) -> None:
    folder = write_folder(tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": None}))
    bare = LocalModel(folder, dtype="float32", threads=1)
    one, two = rate(bare, "a", "ab")
    assert one.not_judged and one.value is None
    logp = load(folder, "float32").logits(ids_of(bare, "ab"))[0].log_softmax(-1)
    assert value_of(two) == pytest.approx(float(logp[ids_of(bare, "ab")[1]]), abs=1e-5)


def test_a_text_beyond_the_context_says_the_numbers(model: LocalModel) -> None:
    assert value_of(rate(model, "x" * 418)[0]) < 0  # with the token before it, exactly the context
    with pytest.raises(OverContext, match=r"419 tokens; text 1 takes 420"):
        rate(model, "a", "x" * 419)


def test_the_embedded_model_prefers_what_it_was_taught() -> None:
    home = ROOT / "src" / "vervet" / "models" / "embedded"
    if not (home / "model.safetensors").exists():
        pytest.skip("the embedded model is not here")
    model = LocalModel(home)
    assert model.supports.rate
    right, wrong = rate(model, "<|user|>Make 18 from 75, 6, 3 with + - * /, each number at most once.",
                        "<|user|>Make zzzq vfro 75, 6, 3 htiw + - * /, hcae rebmun ta tsom ecno.")  # fmt: skip
    assert value_of(right) > value_of(wrong) + 1


# --- a value head ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_value_head_agrees_with_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = LocalModel(valued(tmp_path), threads=1)
    theirs = transformers.LlamaForSequenceClassification.from_pretrained(tmp_path).eval()
    assert theirs.num_labels == 1
    for text, score in zip(TEXTS, rate(model, *TEXTS), strict=True):
        with torch.no_grad():
            want = theirs(torch.tensor([ids_of(model, text)])).logits
        assert value_of(score) == pytest.approx(float(want), abs=1e-4)


def test_a_value_model_judges_one_token_but_no_empty_text(tmp_path: Path) -> None:
    empty, one = rate(LocalModel(valued(tmp_path), threads=1), "", "<|bos|>")
    assert empty.not_judged and math.isfinite(value_of(one))


def test_a_value_model_draws_nothing(tmp_path: Path) -> None:
    model = LocalModel(valued(tmp_path), threads=1)
    assert model.supports.rate and not model.supports.roles
    with pytest.raises(Unsupported, match="rate"):
        draw(model, Question(({"role": "user", "content": "Hm?"},)))


def test_a_head_of_several_values_is_refused_by_its_shape(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"score\.weight of shape \(1, 42\), found \(2, 42\)"):
        rate(LocalModel(valued(tmp_path, n_labels=2)), "a")


# --- the engine's thread ---------------------------------------------------------------------------------


def test_rating_while_samples_are_drawn_changes_neither(folder: Path) -> None:
    model, question = LocalModel(folder, slots=13), Question(({"role": "user", "content": "Hm?"},))
    texts = [f"{i} and more" for i in range(50)]

    async def drawn() -> dict[int, Sample]:
        got = {}
        request = Request(question, Endings(min_tokens=60, max_tokens=60))
        async with model.draw(request, Stream(model.name, question.digest), range(40)) as call:
            async for delivery in call:
                assert isinstance(delivery.outcome, Sample)
                got[delivery.index] = delivery.outcome
        return got

    async def both() -> tuple[dict[int, Sample], list[Score], list[Score]]:
        async with asyncio.TaskGroup() as group:
            samples, first, second = (group.create_task(c) for c in (drawn(), model.rate(texts), model.rate(texts)))
        return samples.result(), first.result(), second.result()

    samples, first, second = asyncio.run(both())
    assert samples == asyncio.run(drawn())
    assert first == second == rate(model, *texts)
    assert model._worker._asked == []


def test_leaving_early_leaves_nothing_behind(model: LocalModel) -> None:
    async def main() -> list[Score]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await model.rate(["x" * 400] * 64)
        return await model.rate(["ab"])

    assert asyncio.run(main()) == rate(model, "ab")
    assert model._worker._asked == []


def test_weights_that_cannot_be_loaded_reach_the_one_who_waits_and_the_next_starts_anew(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:5000])
    model = LocalModel(folder, threads=1)
    with pytest.raises(ModelError, match="engine failed"):
        rate(model, "a")
    (folder / "model.safetensors").write_bytes(whole)
    assert value_of(rate(model, "a")[0]) < 0


def test_an_error_while_rating_reaches_the_one_who_waits_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel(folder, threads=1)

    def broken(texts: Any, engine: Any) -> list[Score]:
        raise ZeroDivisionError("a broken head")

    with monkeypatch.context() as patch:
        patch.setattr(model, "_scores", broken)
        with pytest.raises(ModelError, match="a broken head"):
            rate(model, "a")
    assert value_of(rate(model, "a")[0]) < 0
