"""The special tokens and the chat template of the embedded models.

Their order and form are fixed for ever: every sample ever drawn depends on them. A response begins right after
`<|assistant|>` and ends with `<|eos|>`; there are no blanks or newlines between turns.
"""

from __future__ import annotations

from typing import Final

N_ROLES: Final = 32
PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
THINK, END_THINK = "<think>", "</think>"
SPECIALS: Final = (
    *(PAD, BOS, EOS, SYSTEM, USER, ASSISTANT, THINK, END_THINK),
    *(f"<|role_{place}|>" for place in range(N_ROLES)),
)

CHAT_TEMPLATE: Final = (
    "{{ '<|bos|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|eos|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
