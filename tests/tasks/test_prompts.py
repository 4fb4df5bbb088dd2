"""The exact prompts, for chat templates and a base model, against golden files.

After an intended change: `FIN_UPDATE_GOLDEN=1 .venv/bin/pytest tests/tasks/test_prompts.py`, then read the diff.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT, TEMPLATES

from fin_plugins.common.locations import task_folder

GOLDEN = ROOT / "tests" / "golden"
TASKS = sorted(file.stem for file in task_folder().rglob("fin_*.yaml") if not file.stem.endswith("_gen"))
MODELS = [*TEMPLATES, "smollm2"]


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        manager = TaskManager(include_defaults=False, include_path=str(task_folder()))
        return manager.load([name + twin for name in TASKS for twin in ("", "_gen")])["tasks"]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> tuple[str, Any]:
    from lm_eval.models.huggingface import HFLM

    name = request.param
    path = request.getfixturevalue("demo_model_path") if name == "smollm2" else tiny_models[name]
    return name, HFLM(pretrained=str(path), device="cpu", batch_size=1)


def requests(task: Any, model: tuple[str, Any]) -> list[Any]:
    name, lm = model
    chat = name != "base"
    template = lm.apply_chat_template if chat else None
    task.build_all_requests(limit=1, apply_chat_template=chat, fewshot_as_multiturn=chat, chat_template=template)
    return task.instances


@pytest.mark.parametrize("name", TASKS)
def test_prompt_parts_occur_once_in_order(name: str, tasks: dict[str, Any], model: tuple[str, Any]) -> None:
    task = tasks[name]
    request, *others = requests(task, model)
    context, continuation = request.args
    row = request.doc
    instruction = task.doc_to_text(row).splitlines()[0]
    end = 0
    for part in (instruction, f"\nSentence: {row['text']}", "label:"):
        assert context.count(part) == 1
        assert context.index(part) >= end
        end = context.index(part) + len(part)
    assert context.endswith("label:")
    assert [continuation, *(other.args[1] for other in others)] == [f" {label}" for label in row["choices"]]


@pytest.mark.parametrize("name", TASKS)
def test_one_bos_at_most_and_the_label_stands_alone(name: str, tasks: dict[str, Any], model: tuple[str, Any]) -> None:
    lm = model[1]
    bos = lm.tokenizer.bos_token_id
    seen = set()
    for request in requests(tasks[name], model):
        context, continuation = lm._encode_pair(*request.args)
        # SmolLM2's BOS is <|im_start|>, which opens every turn: there, only a doubled one at the start is wrong.
        opening = context[:2] if model[0] == "smollm2" else context
        assert opening.count(bos) <= 1
        assert bos not in continuation
        seen.add(tuple(continuation))
    assert len(seen) == len(request.doc["choices"])
    assert () not in seen  # an empty continuation would have log-likelihood 0 and win


@pytest.mark.parametrize("name", TASKS)
def test_generation_twin_asks_the_same(name: str, tasks: dict[str, Any], model: tuple[str, Any]) -> None:
    choice, gen = requests(tasks[name], model), requests(tasks[f"{name}_gen"], model)
    assert [request.args[0] for request in gen] == [choice[0].args[0]]
    assert gen[0].args[1]["max_gen_toks"] <= 16


def test_golden(tasks: dict[str, Any], model: tuple[str, Any]) -> None:
    parts = []
    for name in TASKS:
        of_task = requests(tasks[name], model)
        answers = "".join(f"<<<{request.args[1]}>>>" for request in of_task)
        parts.append(f"======== {name} ========\n{of_task[0].args[0]}{answers}\n")
    text = "\n".join(parts)
    file = GOLDEN / f"{model[0]}.txt"
    if os.environ.get("FIN_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TASKS)
def test_few_shot_examples_are_not_test_rows(name: str, tasks: dict[str, Any]) -> None:
    task = tasks[name]
    assert task.config.fewshot_split != task.config.test_split
    test_texts = {row["text"] for row in task.test_docs()}
    context = task.fewshot_context(task.test_docs()[0], num_fewshot=3, gen_prefix="label:")
    assert context.count("label:") == 4
    assert sum(text in context for text in test_texts) == 1  # the question's own


def test_control_tokens_in_a_row_do_not_end_the_turn(
    tmp_path: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd
    from transformers import AutoTokenizer

    from fin_plugins.data import dataset_rows
    from fin_plugins.tasks.rows import load

    frame = pd.DataFrame({"id": ["a", "b"], "text": ["rates <|eot_id|> rose", "[/INST] flat"], "label": ["up", "up"]})
    rows = dataset_rows.DatasetRows(name="x", data_mode="real", splits={"test": frame}, hashes={"test": "h"})
    monkeypatch.setattr(dataset_rows, "read_rows", lambda name: rows)
    fin: dict[str, Any] = {"rows": "x"}
    texts = load(fin=fin, labels=["up", "down"])["test"]["text"]
    assert fin["control_tokens_broken"] == 2
    for name, tokens in (("llama3", {"<|eot_id|>"}), ("mistral", {"[/INST]"})):
        tokenizer = AutoTokenizer.from_pretrained(tiny_models[name])
        encoded = {token for text in texts for token in tokenizer.convert_ids_to_tokens(tokenizer.encode(text))}
        assert not encoded & tokens
