# ruff: noqa: E402  (what the extra brings is imported after it was looked for)
"""The tokenizer and the machinery of training, on tiny models."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'local'")
tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'local'")

import torch

from training.chat import SPECIALS
from training.data import TOKEN_BITS, TRAINED_BIT, Corpus, batches, draw_documents, encode, pad
from training.documents import text_of
from training.export import export
from training.make import SECOND
from training.model import Llama, Shape
from training.optimizers import orthogonalize, rate_factor
from training.tokenizer import VOCABULARY, train_tokenizer
from training.train import Recipe, Stage, train

TINY = Shape(hidden=24, layers=2, heads=3, kv_heads=1, feed_forward=40, head_dim=8)


@pytest.fixture(scope="module")
def documents() -> list:  # type: ignore[type-arg]
    return list(itertools.islice(draw_documents("test", "train", SECOND), 600))


@pytest.fixture(scope="module")
def tokenizer(documents):  # type: ignore[no-untyped-def]
    return train_tokenizer(map(text_of, documents))


def _corpus(tokenizer, documents) -> Corpus:  # type: ignore[no-untyped-def]
    rows = [row for row in encode(tokenizer, documents) if len(row) <= 512]
    return Corpus(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


def test_the_special_tokens_have_their_places_and_the_vocabulary_its_size(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert [tokenizer.token_to_id(token) for token in SPECIALS] == list(range(40))
    assert tokenizer.get_vocab_size() == VOCABULARY


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\n", "Ann: 12 + 3 = 15\nAnswer: 15", "naïve  café\t日本 🐒", "7*(5 - 2)", "  x\n y\r\n", "\x00"],
)
def test_any_text_decodes_to_itself(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_digits_and_newlines_are_tokens_of_their_own(tokenizer) -> None:  # type: ignore[no-untyped-def]
    for token in tokenizer.get_vocab():
        if token not in SPECIALS and any(sign.isdigit() and sign.isascii() for sign in token):
            assert len(token) == 1
        assert "Ċ" not in token or token == "Ċ"


def test_a_document_in_segments_has_the_tokens_of_its_text(tokenizer, documents) -> None:  # type: ignore[no-untyped-def]
    for document, row in zip(documents[:97], encode(tokenizer, documents[:97]), strict=True):
        assert (row & TOKEN_BITS).tolist() == tokenizer.encode(text_of(document)).ids


def test_batches_hold_each_document_once_and_the_loss_its_trained_tokens(tokenizer, documents) -> None:  # type: ignore[no-untyped-def]
    corpus = _corpus(tokenizer, documents)
    made = list(batches(corpus, 512))
    assert 0.7 * len(corpus.rows) < sum(batch.tokens for batch in made) <= len(corpus.rows)
    row = np.array([5, 6 | TRAINED_BIT, 7 | TRAINED_BIT], dtype=np.uint16)
    batch = pad([row], 4)
    assert batch.inputs.tolist() == [[5, 6, 7, 0]]
    assert batch.targets.tolist() == [[6, 7, -100, -100]]


def test_orthogonalize_brings_singular_values_near_one() -> None:
    matrices = torch.randn(2, 31, 17, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_the_rate_warms_up_stays_and_falls() -> None:
    assert [rate_factor(*at) for at in ((29, 0.0), (500, 0.4), (900, 0.75), (999, 1.0))] == [0.5, 1.0, 0.5, 0.0]


def test_training_depends_on_nothing_but_its_recipe_and_resumes_where_it_was(
    tokenizer, documents, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    first, second = (_corpus(tokenizer, part * 3) for part in (documents[:300], documents[300:]))

    def make(folder: str, stops: tuple[int, ...]) -> Llama:
        recipe = Recipe(TINY, 3, tmp_path / folder, smaller_steps_from=9_000, compiled=False)
        for until in stops:
            train(recipe, Stage(0, until, 50_000), first)
        train(recipe, Stage(1, 31_000, 50_000), second)
        return train(recipe, Stage(1, 40_000, 40_000), second)

    once, again, interrupted = make("once", (22_000,)), make("again", (22_000,)), make("often", (5_000, 13_000, 22_000))
    finished = make("once", (22_000,))
    for model in (again, interrupted, finished):
        for one, other in zip(once.parameters(), model.parameters(), strict=True):
            assert torch.equal(one, other)


def test_training_lowers_the_loss(tokenizer, documents, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    train(Recipe(TINY, 3, tmp_path, compiled=False), Stage(0, 330_000, 330_000), _corpus(tokenizer, documents * 6))
    losses = [float(line.split("loss=")[1].split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < 5.0  # knowing nothing costs log(448) = 6.1


def test_the_exported_folder_gives_the_same_logits_in_transformers(tokenizer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers", reason="needs the extra 'dev'")
    model = Llama(TINY, 5).bfloat16().float()
    export(model, tokenizer, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.randint(0, VOCABULARY, (2, 29), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(model(ids), theirs(ids).logits, atol=1e-5)
    chat = transformers.AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        [
            {"role": "user", "content": "f(1)=2"},
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": "y"},
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert chat == "<|bos|><|user|>f(1)=2<|assistant|>x<|eos|><|user|>y<|assistant|>"
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is True


def test_the_same_seed_makes_the_same_documents() -> None:
    first, second = (list(itertools.islice(draw_documents("7/x", "train", SECOND), 53)) for _ in range(2))
    assert first == second
    assert Random("7").random() == Random("7").random()
