"""Training documents are true where the loss sees them, and follow the formats that samples depend on."""

from __future__ import annotations

import re
from random import Random

import pytest

from training.documents import HARD, MAKERS, STANDARD, Document, text_of

TRIED = 149


def _documents(kind: str) -> list[Document]:
    rng = Random(kind)
    return [MAKERS[kind](rng, "train", HARD if turn % 2 else STANDARD) for turn in range(TRIED)]


def _response(document: Document) -> str:
    return text_of(document).rsplit("<|assistant|>", 1)[1]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_document_follows_the_chat_template(kind: str) -> None:
    turn = r"<\|user\|>[^<]+<\|assistant\|>(?:<think>\n[^<]+</think>\n)?[^<]+<\|eos\|>"
    for document in _documents(kind):
        assert re.fullmatch(rf"<\|bos\|>(?:{turn})+", text_of(document))


@pytest.mark.parametrize("kind", MAKERS)
def test_every_line_of_arithmetic_in_a_response_is_true(kind: str) -> None:
    for document in _documents(kind):
        for left, result in re.findall(r"^(?:\w+: )?(\d+ [-+*/] \d+) = (\d+)", _response(document), re.M):
            assert eval(left) == int(result)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_loss_sees_the_last_response_only_and_its_end(kind: str) -> None:
    for document in _documents(kind):
        if kind == "taught words":  # where the prompt's references are trained too
            document = document[-2:]
        assert not document[0].trained
        assert document[0].text.endswith("<|assistant|>")
        assert document[-1].trained
        trained = "".join(segment.text for segment in document if segment.trained)
        assert trained.endswith("<|eos|>")
        assert trained.count("Answer: ") == 1


@pytest.mark.parametrize("kind", ["countdown", "thinking", "repair"])
def test_the_answer_uses_the_given_numbers_and_reaches_the_target_unless_interrupted(kind: str) -> None:
    for document in _documents(kind):
        text = text_of(document)
        if "Make " not in text:
            continue
        target, given = re.findall(r"Make (\d+) from ([\d, ]+) with", text)[0]
        answer = _response(document).split("Answer: ")[1].removesuffix("<|eos|>")
        left = given.split(", ")
        for number in re.findall(r"\d+", answer):
            left.remove(number)
        if "\nstop\n" not in text:
            assert eval(answer) == int(target)


def test_branches_end_with_a_true_verdict_and_wrong_choices_are_not_trained() -> None:
    for document in _documents("thinking"):
        target = re.findall(r"Make (\d+)", text_of(document))[0]
        for result, verdict in re.findall(r"= (\d+) (yes|no)\n", _response(document)):
            assert (result == target) == (verdict == "yes")
        before = ""
        for segment in reversed(document):  # each choice belongs to the verdict that follows it
            if found := re.search(r" (yes|no)\n$", segment.text):
                before = found[1]
            if re.fullmatch(r"\d+ [-+*/] \d+", segment.text) and before:
                assert segment.trained == (before == "yes")


def test_some_thinking_is_interrupted_and_then_gives_the_nearest_value_seen() -> None:
    interrupted = [document for document in _documents("thinking") if "\nstop\n" in text_of(document)]
    assert 0.1 < len(interrupted) / TRIED < 0.3  # a fifth, three standard errors
    for document in interrupted:
        text = text_of(document)
        target = int(re.findall(r"Make (\d+)", text)[0])
        seen = [int(result) for result in re.findall(r" = (\d+)", text)]
        assert abs(eval(_response(document).split("Answer: ")[1].removesuffix("<|eos|>")) - target) == min(
            abs(value - target) for value in seen
        )
        assert [segment.trained for segment in document if segment.text == "stop\n"] == [False]


def test_the_evidence_of_a_repair_is_true() -> None:
    for document in _documents("repair"):
        turns = re.split(r"<\|(?:user|assistant)\|>", text_of(document).removeprefix("<|bos|>"))[1:]
        for attempt, evidence in zip(turns[1::2], turns[2::2], strict=False):
            answer = re.search(r"Answer: (.*)<\|eos\|>", attempt)
            assert evidence.endswith(" Try again.")
            assert (answer is None) == evidence.startswith("There is no answer line.")
            if found := re.match(r"The expression gives (-?\d+), not (\d+)\.", evidence):
                assert answer
                assert eval(answer[1]) == int(found[1]) != int(found[2])
            if found := re.match(r"f\((-?\d+)\) gives (-?\d+), not (-?\d+)\.", evidence):
                assert answer
                assert eval(answer[1], {"x": int(found[1])}) == int(found[2]) != int(found[3])


def test_taught_words_train_the_names_that_sentences_refer_back_to() -> None:
    for document in _documents("taught words"):
        *prompt, _, response = document
        assert response.trained
        for segment in prompt:
            assert segment.trained == bool(re.fullmatch(r" [A-Z][a-z]+", segment.text))
        assert sum(segment.trained for segment in prompt) >= 2
