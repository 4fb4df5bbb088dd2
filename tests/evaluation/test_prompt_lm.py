"""Prompts without an engine are the engine's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fin_plugins.evaluation.prompts import NoEngine, PromptLM
from tests.conftest import TEMPLATES

CHAT = [{"role": "user", "content": "What now?"}]
WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *CHAT]
PREFILLED = [*CHAT, {"role": "assistant", "content": "label:"}]
THINKING = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if enable_thinking is defined %}[{{ enable_thinking }}]{% endif %}{{ tone }}"
)


def both(arguments: dict[str, Any]) -> tuple[PromptLM, Any]:
    """Ours, and lm-eval's class with the model loaded."""
    from lm_eval.models.huggingface import HFLM

    return PromptLM("fin_hf", arguments), HFLM(**arguments, device="cpu")


@pytest.mark.parametrize("template", TEMPLATES)
def test_strings_and_tokens_of_fin_hf(template: str, tiny_models: dict[str, Path]) -> None:
    ours, theirs = both({"pretrained": str(tiny_models[template]), "dtype": "float32"})
    if template != "base":
        for messages, continued in ((CHAT, False), (WITH_SYSTEM, False), (PREFILLED, True)):
            rendered = theirs.apply_chat_template(messages, add_generation_prompt=not continued)
            assert ours.apply_chat_template(messages, add_generation_prompt=not continued) == rendered
        assert ours.chat_template(True) == theirs.chat_template(True) != ""
        assert ours.tok_encode(rendered) == theirs.tok_encode(rendered)
    assert ours.tok_encode("up ") == theirs.tok_encode("up ")
    assert ours._encode_pair("a label:", " up") == theirs._encode_pair("a label:", " up")
    for name in ("tokenizer_name", "eot_token_id", "prefix_token_id"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.tokenizer.pad_token == theirs.tokenizer.pad_token


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"enable_thinking": False},
        {"chat_template_args": {"tone": "dry"}},
        {"chat_template_args": {"enable_thinking": True, "tone": "dry"}, "enable_thinking": False},
        {"add_bos_token": False, "prefix_token_id": 5},
    ],
)
def test_arguments_of_the_template_and_the_tokenizer(given: dict[str, Any], tiny_models: dict[str, Path]) -> None:
    ours, theirs = both({"pretrained": str(tiny_models["llama3"]), "dtype": "float32", **given})
    ours.tokenizer.chat_template = theirs.tokenizer.chat_template = THINKING
    assert ours.apply_chat_template(CHAT) == theirs.apply_chat_template(CHAT)
    assert ours.tok_encode("up") == theirs.tok_encode("up")
    assert ours.prefix_token_id == theirs.prefix_token_id


@pytest.mark.parametrize(
    "given", [{}, {"enable_thinking": True}, {"chat_template_args": {"enable_thinking": True, "tone": "dry"}}]
)
def test_strings_of_fin_vllm(given: dict[str, Any], tiny_models: dict[str, Path]) -> None:
    pytest.importorskip("vllm")
    from lm_eval.models.vllm_causallms import VLLM

    ours = PromptLM("fin_vllm", {"pretrained": str(tiny_models["llama3"]), **given})
    ours.tokenizer.chat_template = THINKING
    # What lm-eval's constructor makes of these arguments, which would start an engine.
    arguments = dict(given.get("chat_template_args") or {})
    arguments.pop("enable_thinking", None)
    theirs = SimpleNamespace(
        tokenizer=ours.tokenizer,
        hf_chat_template=THINKING,
        enable_thinking=given.get("enable_thinking"),
        chat_template_args=arguments,
    )
    assert ours.apply_chat_template(CHAT) == VLLM.apply_chat_template(theirs, CHAT)


def test_it_answers_nothing(tiny_models: dict[str, Path]) -> None:
    lm = PromptLM("fin_hf", {"pretrained": str(tiny_models["base"])})
    for ask in (lm.loglikelihood, lm.loglikelihood_rolling, lm.generate_until, lm._loglikelihood_tokens):
        with pytest.raises(NoEngine):
            ask([])
