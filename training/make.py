"""Make the shipped models from nothing: tokenizer, corpus, training, export. One command and a seed.

python -m training.make --seed 0
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer

from training.data import Corpus, Mix, draw_documents, make_corpus
from training.documents import HARD, STANDARD, text_of
from training.export import export
from training.tokenizer import train_tokenizer
from training.train import SHAPES, Recipe, Stage, train


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus to be made: its mix and its tokens. Its number is added to the seed."""

    mix: Mix
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What one model is trained on, one stage after the other."""

    stages: tuple[Stage, ...]
    smaller_steps_from: int


# By tokens: 37 % words, 18 % countdown, 19 % thinking, 19 % programs, 8 % repair.
FIRST: Final = Mix({"words": 153, "countdown": 252, "thinking": 112, "programs": 350, "repair": 47}, HARD)
# More words, fewer programs: 53 %, 19 %, 17 %, 5 %, 6 %.
SECOND: Final = Mix({"taught words": 330, "countdown": 300, "thinking": 125, "programs": 100, "repair": 41}, STANDARD)
SOURCES: Final = (Source(FIRST, 84_000_000), Source(SECOND, 40_000_000))
PLANS: Final = {
    "embedded": Plan(
        (
            Stage(corpus=0, until=42_835_647, horizon=72_000_000),
            Stage(corpus=1, until=53_905_228, horizon=74_000_000),
            Stage(corpus=1, until=64_000_000, horizon=64_000_000),
        ),
        smaller_steps_from=30_000_000,
    ),
    "embedded-small": Plan((Stage(corpus=1, until=18_000_000, horizon=18_000_000),), smaller_steps_from=0),
}
TOKENIZER_DOCUMENTS: Final = 20_000
MODELS: Final = Path(__file__).parent.parent / "src" / "vervet" / "models"


def make_tokenizer(seed: int, path: Path) -> Tokenizer:
    """Train the tokenizer on documents of its own and save it."""
    documents = itertools.islice(draw_documents(f"{seed}/tokenizer", "train", FIRST), TOKENIZER_DOCUMENTS)
    tokenizer = train_tokenizer(map(text_of, documents))
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return tokenizer


def main() -> None:
    """Make tokenizer, corpus and models; steps that are already in the work folder are not repeated."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/training"))
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer_path = options.work / "tokenizer.json"
    tokenizer = make_tokenizer(options.seed, tokenizer_path)
    for name in options.models:
        plan = PLANS[name]
        recipe = Recipe(SHAPES[name], options.seed, options.work / name, plan.smaller_steps_from)
        for stage in plan.stages:
            corpus = corpus_of(stage.corpus, options.seed, options.work, tokenizer_path, options.threads)
            model = train(recipe, stage, corpus)
        export(model, tokenizer, options.out / name)


def corpus_of(number: int, seed: int, work: Path, tokenizer_path: Path, workers: int) -> Corpus:
    """Load a corpus by its number, or make it."""
    folder, source = work / f"corpus-{seed + number}", SOURCES[number]
    if not (folder / "starts.npy").exists():
        make_corpus(tokenizer_path, seed + number, source.mix, source.tokens, workers).save(folder)
    return Corpus.load(folder)


if __name__ == "__main__":
    main()
