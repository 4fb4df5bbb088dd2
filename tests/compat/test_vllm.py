"""What `compat/vllm` and `compat/lm_eval/vllm` assume, told from the source: importing vLLM takes 14 s."""

import ast
import re
from pathlib import Path

import pytest

from fin_plugins.compat.vllm import LORA_RANKS
from tests.compat.foreign import folder_of, private_names

if folder_of("vllm") is None:
    pytest.skip("vLLM is not installed here", allow_module_level=True)


def source(*parts: str) -> str:
    return Path(str(folder_of("vllm"))).joinpath(*parts).read_text(encoding="utf-8")


def attributes(text: str, class_name: str) -> set[str]:
    """Methods of a class, and what it sets or annotates."""
    (node,) = [one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.ClassDef) and one.name == class_name]
    found = {one.name for one in ast.walk(node) if isinstance(one, ast.FunctionDef)}
    found |= {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "self"}
    return found | {
        one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    }


def test_lora_ranks_are_those_that_vllm_makes_room_for() -> None:
    (found,) = re.findall(r"MaxLoRARanks = Literal\[([\d, ]+)\]", source("config", "lora.py"))
    assert tuple(int(rank) for rank in found.split(",")) == LORA_RANKS


def test_the_engine_has_the_parts_that_are_reached_through() -> None:
    assert "llm_engine" in attributes(source("entrypoints", "llm.py"), "LLM")
    assert {"engine_core", "vllm_config", "model_config"} <= attributes(
        source("v1", "engine", "llm_engine.py"), "LLMEngine"
    )
    assert "shutdown" in attributes(source("v1", "engine", "core_client.py"), "EngineCoreClient")
    cache = attributes(source("config", "cache.py"), "CacheConfig")
    assert {"block_size", "num_gpu_blocks", "enable_prefix_caching"} <= cache


def test_one_prompt_may_ask_for_the_log_probabilities_of_chosen_tokens() -> None:
    text = source("sampling_params.py")
    assert "logprob_token_ids" in attributes(text, "SamplingParams") and "MAX_LOGPROB_TOKEN_IDS" in text


def test_lm_evals_class_sends_everything_through_two_methods() -> None:
    assert {"_loglikelihood_tokens", "_model_generate"} <= private_names("lm_eval", "VLLM")
    file = Path(str(folder_of("lm_eval"))) / "models" / "vllm_causallms.py"
    functions = {one.name: one for one in ast.walk(ast.parse(file.read_text())) if isinstance(one, ast.FunctionDef)}
    generate = [argument.arg for argument in functions["_model_generate"].args.args]
    assert {"requests", "generate", "sampling_params"} <= set(generate)
    assert [argument.arg for argument in functions["_loglikelihood_tokens"].args.args][1:] == [
        "requests",
        "disable_tqdm",
    ]
    assert "lora_request" in ast.unparse(functions["_model_generate"])
