"""Which requests and models ask for plain greedy replies."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from fin_plugins.scoring.hf_settings import beyond_greedy, greedy_only


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({"until": ["\n"], "max_gen_toks": 16, "do_sample": False, "temperature": 0.0}, True),
        ({"until": "\n", "max_new_tokens": 16}, True),
        ({}, True),
        ({"do_sample": False, "temperature": 0.7}, True),  # as lm-eval takes it
        ({"temperature": 0.7}, False),
        ({"do_sample": True}, False),
        ({"num_beams": 4}, False),
        ({"max_length": 20}, False),
        (["\n"], False),
    ],
)
def test_requests(settings: Any, plain: bool) -> None:
    assert greedy_only(settings) is plain


@pytest.fixture(scope="module")
def model(tiny_models: dict[str, Path]) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_models["base"])


@pytest.mark.parametrize(
    ("settings", "odd"),
    [
        ({"eos_token_id": [2, 3], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}, []),
        ({"repetition_penalty": 1.0, "num_beams": 1, "min_length": 0}, []),
        ({"repetition_penalty": 1.05}, ["repetition_penalty"]),
        ({"max_new_tokens": 20, "suppress_tokens": [5]}, ["max_new_tokens", "suppress_tokens"]),
        ({"num_beams": 3}, ["num_beams"]),
    ],
)
def test_models(settings: dict[str, Any], odd: list[str], model: PreTrainedModel) -> None:
    model.generation_config = GenerationConfig(**settings)
    assert beyond_greedy(model) == odd


def test_a_generate_of_its_own(model: PreTrainedModel) -> None:
    class Own(type(model)):
        def generate(self, *_: Any, **__: Any) -> None: ...

    assert "a generate of its own" in beyond_greedy(Own(model.config))
