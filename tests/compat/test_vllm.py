"""Assumptions of `compat/vllm` and `compat/lm_eval/vllm`, checked on the source, because importing vLLM takes 14 s."""

import ast
import re
from pathlib import Path

import pytest

from fin_plugins.compat.vllm import LORA_RANKS
from tests.compat.foreign import folder_of, private_names

if folder_of("vllm") is None:
    pytest.skip("vLLM is not installed", allow_module_level=True)


def read_source(*parts: str) -> str:
    return Path(str(folder_of("vllm"))).joinpath(*parts).read_text(encoding="utf-8")


def attributes(text: str, class_name: str) -> set[str]:
    """Names of methods, attributes of `self` and annotated class attributes of a class."""
    nodes = ast.walk(ast.parse(text))
    (class_node,) = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == class_name]
    names = set()
    for node in ast.walk(class_node):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node in class_node.body:
            names.add(node.target.id)
    return names


def test_lora_ranks_are_those_that_vllm_supports() -> None:
    (ranks,) = re.findall(r"MaxLoRARanks = Literal\[([\d, ]+)\]", read_source("config", "lora.py"))
    assert tuple(int(rank) for rank in ranks.split(",")) == LORA_RANKS


def test_the_engine_has_the_internal_attributes_that_we_use() -> None:
    assert "llm_engine" in attributes(read_source("entrypoints", "llm.py"), "LLM")
    assert {"engine_core", "vllm_config", "model_config"} <= attributes(
        read_source("v1", "engine", "llm_engine.py"), "LLMEngine"
    )
    assert "shutdown" in attributes(read_source("v1", "engine", "core_client.py"), "EngineCoreClient")
    cache = attributes(read_source("config", "cache.py"), "CacheConfig")
    assert {"block_size", "num_gpu_blocks", "enable_prefix_caching"} <= cache


def test_a_prompt_can_request_log_probabilities_of_selected_tokens() -> None:
    text = read_source("sampling_params.py")
    assert "logprob_token_ids" in attributes(text, "SamplingParams") and "MAX_LOGPROB_TOKEN_IDS" in text


def test_lm_evals_class_uses_two_methods_for_all_requests() -> None:
    assert {"_loglikelihood_tokens", "_model_generate"} <= private_names("lm_eval", "VLLM")
    file = Path(str(folder_of("lm_eval"))) / "models" / "vllm_causallms.py"
    nodes = ast.walk(ast.parse(file.read_text()))
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    generate = [argument.arg for argument in functions["_model_generate"].args.args]
    assert {"requests", "generate", "sampling_params"} <= set(generate)
    assert [argument.arg for argument in functions["_loglikelihood_tokens"].args.args][1:] == [
        "requests",
        "disable_tqdm",
    ]
    assert "lora_request" in ast.unparse(functions["_model_generate"])
