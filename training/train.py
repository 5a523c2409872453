"""Train one model on a corpus, resumably: the same corpus, shape and seed give the same model on one machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data import Batch, Corpus, batches
from training.model import MAIN, SMALL, Llama, Shape
from training.optimizers import Optimizer, rate_factor

BATCH_TOKENS: Final = 4096  # positions in one forward pass
CLIP: Final = 1.0
SAVE_SECONDS: Final = 180
SHAPES: Final[dict[str, Shape]] = {"embedded": MAIN, "embedded-small": SMALL}

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training run is made of.

    A step takes four batches, and two once `smaller_steps_from` tokens are done: large steps first, then more of them.
    """

    shape: Shape
    seed: int
    folder: Path
    smaller_steps_from: int = 0
    compiled: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training: its corpus by number, at how many tokens it ends, and where the rate would reach 0."""

    corpus: int
    until: int
    horizon: int


def make_loss(model: Llama, compiled: bool) -> Loss:
    """Give the summed loss of a batch under bf16 autocast, compiled once per shape."""

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")

    return torch.compile(loss, dynamic=False) if compiled else loss


@dataclass(slots=True)
class Progress:
    """How far a training is: tokens and steps done, the corpus it is in, and the batches seen of that corpus."""

    done: int = 0
    steps: int = 0
    corpus: int = 0
    seen: int = 0


def train(recipe: Recipe, stage: Stage, corpus: Corpus) -> Llama:
    """Train through a stage, from the last checkpoint in the recipe's folder; a stage that is over is not repeated.

    Stages with one corpus read on in it; every document is seen once.
    """
    torch._dynamo.config.cache_size_limit = 64
    model = Llama(recipe.shape, recipe.seed)
    optimizer = Optimizer(model)
    at = _resume(recipe, model, optimizer)
    if at.done >= stage.until:
        return model
    if at.corpus != stage.corpus:
        at.corpus, at.seen = stage.corpus, 0
    loss = make_loss(model, recipe.compiled)
    stream = itertools.islice(batches(corpus, BATCH_TOKENS), at.seen, None)
    began, saved, first = time.monotonic(), time.monotonic(), at.done
    while at.done < stage.until:
        group = list(itertools.islice(stream, 4 if at.done < recipe.smaller_steps_from else 2))
        if not group:
            raise ValueError(f"the corpus is too short for {stage.until} tokens: it ended at {at.done}")
        mean, norm = _step(model, optimizer, loss, group, rate_factor(at.steps, at.done / stage.horizon))
        at.done += sum(batch.tokens for batch in group)
        at.steps += 1
        at.seen += len(group)
        if at.steps % 20 == 0:
            rate = (at.done - first) / (time.monotonic() - began)
            left = (stage.until - at.done) / rate / 60
            line = f"steps={at.steps} done={at.done} loss={mean:.4f} {norm=:.2f} tokens/s={rate:.0f} minutes_left={left:.1f}"
            print(line, flush=True)
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(recipe, model, optimizer, at)
            saved = time.monotonic()
    _save(recipe, model, optimizer, at)
    return model


def _step(model: Llama, optimizer: Optimizer, loss: Loss, group: list[Batch], factor: float) -> tuple[float, float]:
    """Take one optimiser step over a group of batches; give the mean loss a trained token and the gradient norm."""
    trained = sum(int((batch.targets >= 0).sum()) for batch in group)
    total = 0.0
    for parameter in model.parameters():
        parameter.grad = None
    for batch in group:
        value = loss(torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)) / trained
        torch.autograd.backward(value)
        total += value.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item()
    optimizer.step(factor)
    return total, norm


def _save(recipe: Recipe, model: Llama, optimizer: Optimizer, at: Progress) -> None:
    recipe.folder.mkdir(parents=True, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(at)}
    partial = recipe.folder / "checkpoint.partial"
    torch.save(state, partial)
    partial.replace(recipe.folder / "checkpoint.pt")


def _resume(recipe: Recipe, model: Llama, optimizer: Optimizer) -> Progress:
    """Load the last checkpoint if there is one; say how far it is."""
    path = recipe.folder / "checkpoint.pt"
    if not path.exists():
        return Progress()
    state = torch.load(path)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
