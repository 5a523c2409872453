"""What suits the machine, and that every tensor of a step is made on the device of the network."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.local

from tests.test_engine import EMBEDDED, random_llama  # noqa: E402
from tests.tiny import config_json, random_weights  # noqa: E402
from vervet.engine import Config, Engine, Llama, Sampling, start, uniforms  # noqa: E402
from vervet.engine.machine import best_threads, tokens_that_fit  # noqa: E402
from vervet.engine.matrix import Matrix  # noqa: E402
from vervet.engine.prefill import prefill  # noqa: E402
from vervet.engine.sampling import How, choose  # noqa: E402


def test_threads_are_some_that_there_are_and_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    assert 1 <= best_threads(random_llama()) <= len(os.sched_getaffinity(0))
    assert torch.get_num_threads() == before


def test_memory_is_for_at_least_one_text_of_full_length() -> None:
    llama = random_llama()
    assert llama.config.context <= tokens_that_fit(llama) <= 1 << 20


def test_an_engine_takes_the_settings_that_it_is_given() -> None:
    before = torch.get_num_threads()
    try:
        engine = start(EMBEDDED, threads=1, slots=3, max_tokens_kept=4096, device="cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert (engine.slots, engine._tree.n_pages, engine.llama.dtype) == (3, 4096 // 128 - 3, torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_packed_matrix_agrees_with_its_plain_twin(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    for n_in, n_out, n in ((42, 101, 1), (384, 448, 17), (192, 1024, 300)):
        weight, bias = torch.randn(n_out, n_in, generator=g).to(dtype), torch.randn(n_out, generator=g).to(dtype)
        x = torch.randn(n, n_in, generator=g).to(dtype)
        for b in (None, bias):
            packed, plain = Matrix(weight, b)(x), Matrix(weight, b, pack=False)(x)
            assert packed.shape == plain.shape == (n, n_out)
            assert torch.allclose(
                packed.float(), plain.float(), rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-4
            )


def test_rows_of_a_matrix_do_not_depend_on_other_rows() -> None:
    g = torch.Generator().manual_seed(1)
    for dtype in (torch.bfloat16, torch.float32):
        matrix, x = Matrix(torch.randn(96, 200, generator=g).to(dtype)), torch.randn(130, 200, generator=g).to(dtype)
        want = matrix(x)
        assert all(torch.equal(matrix(x[:n]), want[:n]) for n in (1, 2, 3, 15, 16, 17, 129))


def test_every_tensor_of_a_step_is_made_on_the_device_of_the_network() -> None:
    data = config_json(head_dim=16, max_position_embeddings=1500)
    empty = {name: torch.empty_like(w, device="meta") for name, w in random_weights(data, 0).items()}
    llama = Llama(Config.from_json(data), empty, torch.bfloat16, "meta")  # mixing it with the processor's is an error
    tree = Engine(llama, 8, 4096)._tree
    stem, _ = prefill(llama, tree, tree.root, list(range(90)) * 7, 1, told=630, k=5)
    again, _ = prefill(llama, tree, stem, list(range(90)) * 8, 1, told=720, k=5)
    for some in (stem, again, stem):
        tree.add(some, 1, 900)
    logits = llama.head(llama.hidden([1, 2, 3], [630, 720, 630], tree.attend([1, 2, 3])))
    how = How.of([Sampling(0.5, 0.9), Sampling(0), Sampling(top_k=3)], "meta")
    ids = choose(logits, how, uniforms([1, 2, 3], [0, 0, 0]))
    assert (logits.device.type, logits.shape, ids.device.type, ids.shape) == ("meta", (3, 101), "meta", (3,))
