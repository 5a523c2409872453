"""Folders of other families through ``LocalModel``: tokenizers and chat templates in their style, against a reference."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.local

from tests.tiny import config_json  # noqa: E402
from vervet.engine import Config  # noqa: E402
from vervet.engine.weights import shapes  # noqa: E402
from vervet.errors import Mistake  # noqa: E402
from vervet.models.local import LocalModel  # noqa: E402
from vervet.types import Endings, Question, Request, Sample, Stream  # noqa: E402

CHATML = """
{%- if tools %}{{- raise_exception('no tools here') }}{%- endif %}
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
{%- endif %}
{%- set seen = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and seen.last < 0 %}{%- set seen.last = messages | length - 1 - loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if loop.first and message.role == 'system' %}{%- continue %}{%- endif %}
    {%- if message.role == 'assistant' and loop.index0 < seen.last and message.content is string %}
        {{- '<|im_start|>assistant\\n' + message.content.split('END')[-1].lstrip('\\n') + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
HEADERS = """
{{- bos_token }}
{%- if tools is not none %}{{- raise_exception('no tools here') }}{%- endif %}
{%- for message in messages %}
    {%- set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}
    {{- content }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
TEXT = [
    "Make 18 from 75, 6, 3. Was ist 3 × 4? It's the user's system; the assistant's answer is 12.\n\n  user assistant"
] * 3
STYLES: Mapping[str, Mapping[str, Any]] = {
    "qwen": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "plain": ["<tool_call>", "</tool_call>", "<think>", "</think>"],
        "settings": {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "add_bos_token": False,
                     "chat_template": CHATML},
        "config": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]},
        "eos": ["<|im_end|>", "<|endoftext|>"],
    },
    "llama3": {
        "special": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
                    "<|eot_id|>", "<|python_tag|>"],
        "plain": [],
        "settings": {"bos_token": "<|begin_of_text|>", "eos_token": {"__type": "AddedToken", "content": "<|eot_id|>"},
                     "chat_template": [{"name": "tool_use", "template": "{{ 1 / 0 }}"},
                                       {"name": "default", "template": HEADERS}]},
        "config": {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                    "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
        "eos": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    },
}  # fmt: skip
EACH_STYLE = pytest.mark.parametrize("style", STYLES)
TALKS: Sequence[Sequence[tuple[str, str]]] = [
    [("user", "Make 18 from 75, 6, 3.")],
    [("system", "Résumé: be brief.\n"), ("user", "  Was ist 3 × 4?\n\n  It's 1000000!\t"), ("assistant", "Hm END\n\n12"),
     ("user", "And 5 + 7 e\u0301 \u6f22\u5b57 \U0001f412?\r\n")],
    [("user", "1"), ("assistant", ""), ("user", "    \n")],
]  # fmt: skip


def tokenizer_of(style: Mapping[str, Any]) -> Any:
    """Byte-level BPE with some merges; the added tokens follow, as they do in those families."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(r"'(?:s|t|re)|\s?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXT, BpeTrainer(vocab_size=307, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in style["special"]])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in style["plain"]])
    if style["plain"]:
        tokenizer.normalizer = normalizers.NFC()
    else:
        begin = style["special"][0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
        )
    return tokenizer


def written(folder: Path, style: Mapping[str, Any]) -> Path:
    """A folder of that style with random weights; a few ids more than the tokenizer has, as those families ship."""
    from safetensors.torch import save_file

    tokenizer = tokenizer_of(style)
    tokenizer.save(str(folder / "tokenizer.json"))
    eos = [tokenizer.token_to_id(t) for t in style["eos"]]
    data = config_json(
        vocab_size=tokenizer.get_vocab_size() + 3, eos_token_id=eos[0], dtype="float32", **style["config"]
    )
    g = torch.Generator().manual_seed(5)
    weights = {n: torch.randn(s, generator=g) * s[-1] ** -0.5 for n, s in shapes(Config.from_json(data)).items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(data))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **style["settings"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def question_of(talk: Sequence[tuple[str, str]]) -> Question:
    return Question(tuple({"role": role, "content": content} for role, content in talk))


@pytest.mark.filterwarnings("ignore")
@EACH_STYLE
def test_prompts_agree_with_transformers(style: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    written(tmp_path, STYLES[style])
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), LocalModel(tmp_path)
    for talk in TALKS:
        messages = [{"role": role, "content": content} for role, content in talk]
        want = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
        ids = ours._codec.encode(question_of(talk))
        assert ids == list(want["input_ids"])
        assert len(ids) < sum(len(content.encode()) for _, content in talk) + 60  # merges are applied


@EACH_STYLE
def test_what_a_user_writes_never_becomes_an_added_token(style: str, tmp_path: Path) -> None:
    codec = LocalModel(written(tmp_path, STYLES[style]))._codec
    added = {t for i, t in ((i, codec._tokenizer.id_to_token(i)) for i in range(400)) if t in codec._added}
    assert added == {*STYLES[style]["special"], *STYLES[style]["plain"]}

    def n_added(text: str) -> int:
        return sum(codec._tokenizer.id_to_token(i) in added for i in codec.encode(question_of([("user", text)])))

    assert {n_added(f"a{t}b") for t in added} == {n_added("x")}


@EACH_STYLE
def test_samples_end_at_each_of_the_end_tokens_and_are_texts(style: str, tmp_path: Path) -> None:
    model = LocalModel(written(tmp_path, STYLES[style]), threads=1)
    tokenizer = model._codec._tokenizer
    stops = {tokenizer.token_to_id(t) for t in STYLES[style]["eos"]}
    assert model._codec.stop_ids == stops

    async def draw() -> list[Sample]:
        question = question_of(TALKS[0])
        request = Request(question, Endings(max_tokens=150))
        async with model.draw(request, Stream(model.name, question.digest), range(60)) as call:
            return [d.outcome async for d in call if isinstance(d.outcome, Sample)]

    samples = asyncio.run(draw())
    ends = [s.trace.ids[-1] for s in samples if s.ended == "eos" and s.trace is not None]
    assert set(ends) == stops
    assert all(not stops & set(s.trace.ids[:-1]) for s in samples if s.trace is not None)
    assert len({s.text for s in samples}) > 50


def test_a_list_of_templates_needs_a_default(tmp_path: Path) -> None:
    style = STYLES["llama3"]
    settings = {**style["settings"], "chat_template": [{"name": "tool_use", "template": "x"}]}
    with pytest.raises(Mistake, match="chat template"):
        LocalModel(written(tmp_path, {**style, "settings": settings}))


def test_what_cannot_be_run_is_a_mistake_of_the_caller_also_in_the_engines_thread(tmp_path: Path) -> None:
    folder = written(tmp_path, STYLES["qwen"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"use_sliding_window": True}))
    model, question = LocalModel(folder), question_of(TALKS[0])

    async def draw() -> None:
        async with model.draw(
            Request(question, Endings(max_tokens=2)), Stream(model.name, question.digest), [0]
        ) as call:
            await call.__anext__()

    with pytest.raises(Mistake, match="use_sliding_window=True"):
        asyncio.run(draw())
    with pytest.raises(Mistake, match="use_sliding_window=True"):
        asyncio.run(model.rate(["ab"]))
    del config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Mistake, match="vocab_size"):
        LocalModel(folder)
