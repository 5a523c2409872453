"""The tokenizer of the embedded models: byte-level BPE with 448 tokens, single digits, reserved roles.

Any UTF-8 text decodes to itself. Digits and newlines are always tokens of their own, so that arithmetic is seen digit
by digit and a line of work ends at one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.chat import SPECIALS

VOCABULARY: Final = 448

# A newline; a digit; an operator with its blanks; punctuation with the blank after it; other signs; a word with the
# blank before it; other blanks.
PIECES: Final = r"\n|\p{N}| [+*/=%<>\-]+ |[.,:;!?]+ ?| ?[^\s\p{L}\p{N}]+| ?\p{L}+|[^\S\n]+"


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Train the merges on texts, special tokens left out; the result depends on nothing else.

    >>> tokenizer = train_tokenizer(["Ann: 12 + 3 = 15"])
    >>> tokenizer.decode(tokenizer.encode("naïve 15 €").ids)
    'naïve 15 €'
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    marks = re.compile("|".join(map(re.escape, SPECIALS)))
    tokenizer.train_from_iterator((piece for text in texts for piece in marks.split(text)), trainer)
    return tokenizer
