"""Prompts rendered without an engine equal the engine's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fin_plugins.evaluation.prompt_lm import EngineRequired, PromptLM
from tests.conftest import TEMPLATES

CHAT = [{"role": "user", "content": "What now?"}]
WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *CHAT]
PREFILLED = [*CHAT, {"role": "assistant", "content": "label:"}]
THINKING = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if enable_thinking is defined %}[{{ enable_thinking }}]{% endif %}{{ tone }}"
)


def both(arguments: dict[str, Any]) -> tuple[PromptLM, Any]:
    """Our class, and lm-eval's with the model loaded."""
    from lm_eval.models.huggingface import HFLM

    return PromptLM("fin_hf", arguments), HFLM(**arguments, device="cpu")


@pytest.mark.parametrize("template", TEMPLATES)
def test_strings_and_tokens_of_fin_hf(template: str, tiny_models: dict[str, Path]) -> None:
    ours, stock = both({"pretrained": str(tiny_models[template]), "dtype": "float32"})
    if template != "base":
        for messages, continued in ((CHAT, False), (WITH_SYSTEM, False), (PREFILLED, True)):
            rendered = stock.apply_chat_template(messages, add_generation_prompt=not continued)
            assert ours.apply_chat_template(messages, add_generation_prompt=not continued) == rendered
        assert ours.chat_template(True) == stock.chat_template(True) != ""
        assert ours.tok_encode(rendered) == stock.tok_encode(rendered)
    assert ours.tok_encode("up ") == stock.tok_encode("up ")
    assert ours._encode_pair("a label:", " up") == stock._encode_pair("a label:", " up")
    for name in ("tokenizer_name", "eot_token_id", "prefix_token_id"):
        assert getattr(ours, name) == getattr(stock, name)
    assert ours.tokenizer.pad_token == stock.tokenizer.pad_token


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"enable_thinking": False},
        {"chat_template_args": {"tone": "dry"}},
        {"chat_template_args": {"enable_thinking": True, "tone": "dry"}, "enable_thinking": False},
        {"add_bos_token": False, "prefix_token_id": 5},
    ],
)
def test_arguments_of_the_template_and_the_tokenizer(settings: dict[str, Any], tiny_models: dict[str, Path]) -> None:
    ours, stock = both({"pretrained": str(tiny_models["llama3"]), "dtype": "float32", **settings})
    ours.tokenizer.chat_template = stock.tokenizer.chat_template = THINKING
    assert ours.apply_chat_template(CHAT) == stock.apply_chat_template(CHAT)
    assert ours.tok_encode("up") == stock.tok_encode("up")
    assert ours.prefix_token_id == stock.prefix_token_id


@pytest.mark.parametrize(
    "settings", [{}, {"enable_thinking": True}, {"chat_template_args": {"enable_thinking": True, "tone": "dry"}}]
)
def test_strings_of_fin_vllm(settings: dict[str, Any], tiny_models: dict[str, Path]) -> None:
    pytest.importorskip("vllm")
    from lm_eval.models.vllm_causallms import VLLM

    ours = PromptLM("fin_vllm", {"pretrained": str(tiny_models["llama3"]), **settings})
    ours.tokenizer.chat_template = THINKING
    # The attributes that lm-eval's constructor derives from these arguments; it would start an engine.
    arguments = dict(settings.get("chat_template_args") or {})
    arguments.pop("enable_thinking", None)
    stock = SimpleNamespace(
        tokenizer=ours.tokenizer,
        hf_chat_template=THINKING,
        enable_thinking=settings.get("enable_thinking"),
        chat_template_args=arguments,
    )
    assert ours.apply_chat_template(CHAT) == VLLM.apply_chat_template(stock, CHAT)


def test_every_request_requires_the_engine(tiny_models: dict[str, Path]) -> None:
    lm = PromptLM("fin_hf", {"pretrained": str(tiny_models["base"])})
    for ask in (lm.loglikelihood, lm.loglikelihood_rolling, lm.generate_until, lm.score_tokens):
        with pytest.raises(EngineRequired):
            ask([])
