"""The checks of prompts with real tokenizers: the demo model's, and one that adds BOS, built in place."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.preflight import check_bos, check_labels, check_prompts

PROMPT = "Classify the sentence.\nSentence: Net sales rose by 5 %.\nlabel:"


@pytest.fixture(scope="module")
def smol(demo_model_path: Path) -> Callable[..., HFLM]:
    """lm-eval's own tokenisation with the demo model's tokenizer."""
    return lambda **settings: _encoder(demo_model_path, **settings)


@pytest.fixture(scope="module")
def with_bos(tiny_models: dict[str, Path]) -> Callable[..., HFLM]:
    """The same with a tokenizer that puts BOS in front by itself."""
    return lambda **settings: _encoder(tiny_models["llama3"], **settings)


def _encoder(folder: Path, add_bos_token: bool | None = None, prefix_token_id: int | None = None) -> HFLM:
    """lm-eval's class as far as its tokenisation goes; its weights are never loaded."""
    from transformers import AutoTokenizer

    lm = HFLM.__new__(HFLM)
    lm.tokenizer = AutoTokenizer.from_pretrained(folder)
    lm.backend = "causal"
    lm.add_bos_token = add_bos_token
    lm.custom_prefix_token_id = prefix_token_id
    lm._device = "cpu"
    return lm


def _requests(prompts: list[str], labels: list[str], kind: str = "loglikelihood") -> list[Instance]:
    further: Callable[[str], Any] = (lambda label: {"until": [label]}) if kind == "generate_until" else str
    return [
        Instance(kind, {}, (prompt, further(label)), index, metadata=("fin_test", number, 1))
        for number, prompt in enumerate(prompts)
        for index, label in enumerate(labels)
    ]


def test_real_task_prompts_pass(smol: Callable[..., HFLM], with_bos: Callable[..., HFLM]) -> None:
    for lm in (smol(), with_bos()):
        check_prompts("fin_test", _requests([PROMPT, PROMPT], [" positive", " negative", " neutral"]), lm)
        check_prompts("fin_test", _requests([PROMPT], ["\n"], "generate_until"), lm)
        check_prompts("fin_test", _requests([""], [" positive", " negative"]), lm)


def test_labels_that_lose_what_tells_them_apart(smol: Callable[..., HFLM]) -> None:
    """Without a space `:-` is one token, so that "-1" leaves "1" behind: the codes of two directions."""
    lm = smol()
    check_labels("fin_test", PROMPT, [" 1", " 0", " -1"], lm._encode_pair)
    with pytest.raises(FinError, match=r"task fin_test: .*labels '1' and '-1' after .* are the same tokens, \["):
        check_labels("fin_test", PROMPT, ["1", "0", "-1"], lm._encode_pair)
    check_labels("fin_test", PROMPT + " ", ["1", "0", "-1"], lm._encode_pair)  # lm-eval moves the space to the label


def test_label_that_becomes_one_with_the_prompt(smol: Callable[..., HFLM]) -> None:
    with pytest.raises(FinError, match=r"the label '-' after .* has no token of its own.*leave a space"):
        check_labels("fin_test", PROMPT, ["+", "-"], smol()._encode_pair)


def test_equal_labels_are_one_label(smol: Callable[..., HFLM]) -> None:
    check_labels("fin_test", PROMPT, [" up", " up", " down"], smol()._encode_pair)


def test_every_distinct_label_set_is_looked_at(smol: Callable[..., HFLM]) -> None:
    good = _requests([PROMPT] * 3, [" 1", " -1"])
    (bad,) = _requests([PROMPT], ["-"])
    bad.metadata = ("fin_test", 7, 1)
    bad.__post_init__()
    with pytest.raises(FinError, match="the label '-'"):
        check_prompts("fin_test", [*good, bad], smol())


def test_every_end_of_a_prompt_is_looked_at(smol: Callable[..., HFLM]) -> None:
    """The same labels, harmless after a word and joined to a colon."""
    with pytest.raises(FinError, match="the label '-'"):
        check_prompts("fin_test", _requests(["label", "label:"], ["-", "+"]), smol())


def test_labels_a_tokenizer_folds_together(demo_model_path: Path) -> None:
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_file(str(demo_model_path / "tokenizer.json"))
    backend.normalizer = normalizers.Lowercase()

    def encode_pair(context: str, label: str) -> tuple[list[int], list[int]]:
        whole, before = (backend.encode(text).ids for text in (context + label, context))
        return before, whole[len(before) :]

    with pytest.raises(FinError, match="labels ' IT' and ' it'"):
        check_labels("fin_test", PROMPT, [" IT", " it"], encode_pair)


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_two_bos(with_bos: Callable[..., HFLM], kind: str) -> None:
    """lm-eval drops its own BOS only where the text begins with its prefix token, to the letter."""
    bos = with_bos().tokenizer.bos_token
    check_prompts("fin_test", _requests([bos + PROMPT], [" a", " b"], kind), with_bos())
    for lm, text in ((with_bos(), f"\n{bos}"), (with_bos(prefix_token_id=1), bos), (with_bos(), bos + bos)):
        with pytest.raises(FinError, match=r"two BOS tokens \('<\|begin_of_text\|>'\).*add_bos_token=False"):
            check_prompts("fin_test", _requests([text + PROMPT], [" a", " b"], kind), lm)


def test_no_bos_where_the_tokenizer_adds_one(with_bos: Callable[..., HFLM], smol: Callable[..., HFLM]) -> None:
    with pytest.raises(FinError, match=r"does not begin with BOS .*add_bos_token=True.*--apply_chat_template"):
        check_prompts("fin_test", _requests([PROMPT], [" a", " b"]), with_bos(add_bos_token=False))
    check_prompts("fin_test", _requests([PROMPT], [" a", " b"]), smol(add_bos_token=False))


def test_a_bos_that_also_opens_turns(smol: Callable[..., HFLM]) -> None:
    """SmolLM2's BOS opens every turn of its chat template: two of them, with text between, are right."""
    lm = smol()
    turns = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    prompt = lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert lm.tok_encode(prompt).count(lm.tokenizer.bos_token_id) == 3
    check_bos(lm.tok_encode(prompt), lm.tokenizer)


def test_nothing_to_check() -> None:
    check_bos([], SimpleNamespace(bos_token_id=1))
    check_bos([5, 6], SimpleNamespace(bos_token_id=None))
