"""A training text is the evaluation's prompt, its label and the end of turn, byte for byte and token for token."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.data.split_guard import block_test_split as rows_closed
from fin_plugins.evaluation.prompt_lm import PromptLM
from fin_plugins.training.training_examples import (
    IGNORED,
    conversation_example,
    end_of_turn,
    first_control_token,
    task_example,
    tokenize_examples,
)
from fin_plugins.training.training_tasks import TrainingTask, load_tasks
from tests.conftest import TEMPLATES

MODELS = [*TEMPLATES, "smollm2"]
ENDS = {
    "base": "</s>",
    "llama3": "<|eot_id|>",
    "mistral": "</s>",
    "phi3": "<|end|>",
    "gemma": "<end_of_turn>",
    "smollm2": "<|im_end|>",
}
# All tasks that have train rows among the embedded ones.
TASKS = ["fin_fpb", "fin_fiqa", "fin_headline", "fin_finred", "fin_finred_paper", "fin_fomc", "fin_argument"]


@pytest.fixture(scope="module")
def trainable() -> dict[str, TrainingTask]:
    with pytest.MonkeyPatch.context() as patch, rows_closed():
        patch.setenv("FIN_DATA", "sample")
        return {name: task for name, (task,) in load_tasks(TASKS).items()}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> tuple[str, PromptLM]:
    name = request.param
    path = request.getfixturevalue("demo_model_path") if name == "smollm2" else tiny_models[name]
    return name, PromptLM("fin_hf", {"pretrained": str(path)})


@pytest.fixture(scope="module")
def evaluated() -> dict[str, Any]:
    """The same tasks as an evaluation loads them, with train rows in place of test rows."""
    from lm_eval.tasks import TaskManager

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        manager = TaskManager(include_defaults=False, include_path=str(task_folder()))
        tasks = manager.load(list(TASKS))["tasks"]
    for task in tasks.values():
        task.dataset["test"] = task.dataset["train"]
    return tasks


def encoder(lm: PromptLM) -> Any:
    return lambda strings, add_special_tokens=None: [lm.tok_encode(text, add_special_tokens) for text in strings]


@pytest.mark.parametrize("name", TASKS)
def test_text_is_prompt_label_and_end(name: str, trainable: Any, evaluated: Any, model: tuple[str, PromptLM]) -> None:
    template, lm = model
    chat = template != "base"
    end = end_of_turn(lm, chat)
    task = trainable[name]
    documents = task.documents("training")
    ours = [
        task_example(requests, task.gold(document), end)
        for requests, document in zip(task.requests("training", lm, chat), documents, strict=True)
    ]
    theirs = evaluated[name]
    theirs.build_all_requests(
        apply_chat_template=chat, fewshot_as_multiturn=chat, chat_template=lm.apply_chat_template if chat else None
    )
    gold = {request.doc_id: request.args for request in theirs.instances if request.idx == request.doc["gold"]}
    assert len(ours) == len(gold) == len(documents) > 0
    for number, example in enumerate(ours):
        prompt, label = gold[number]
        assert example.text == prompt + label + end
        assert label == f" {documents[number]['label']}"


@pytest.mark.parametrize("name", ["fin_fomc", "fin_finred"])
def test_tokens_are_those_that_are_scored(name: str, trainable: Any, model: tuple[str, PromptLM]) -> None:
    template, lm = model
    chat = template != "base"
    end = end_of_turn(lm, chat)
    task = trainable[name]
    rows = task.requests("training", lm, chat)
    examples = [
        task_example(requests, task.gold(doc), end)
        for requests, doc in zip(rows, task.documents("training"), strict=True)
    ]
    for loss in ("completion", "all"):
        tokens = tokenize_examples(examples, lm, encoder(lm), loss)
        for example, found in zip(examples, tokens, strict=True):
            context, label = lm._encode_pair(example.prompt, example.completion)
            closing = lm.tok_encode(end, add_special_tokens=False)
            assert found.ids == context + label + closing
            assert found.labels == (found.ids if loss == "all" else [IGNORED] * len(context) + label + closing)
            assert len(closing) == 1


def test_the_end_is_the_control_token_that_stops_generation(model: tuple[str, PromptLM]) -> None:
    name, lm = model
    assert end_of_turn(lm, chat=name != "base") == ENDS[name]


def test_a_template_that_changes_answers_is_refused(tiny_models: dict[str, Path]) -> None:
    lm = PromptLM("fin_hf", {"pretrained": str(tiny_models["llama3"])})
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] | upper }}\n{% endfor %}"
    with pytest.raises(FinError, match="chat template changes answers"):
        end_of_turn(lm, chat=True)
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    assert end_of_turn(lm, chat=True) == "\n" + lm.tokenizer.eos_token  # plain text cannot stop a model by itself


def test_without_an_end_of_text_token_there_is_nothing_to_stop_by(tiny_models: dict[str, Path]) -> None:
    lm = PromptLM("fin_hf", {"pretrained": str(tiny_models["base"])})
    lm.tokenizer.eos_token = None
    with pytest.raises(FinError, match="no end-of-text token"):
        end_of_turn(lm, chat=False)


def test_the_first_and_longest_control_token_ends() -> None:
    tokens = [SimpleNamespace(content=content, special=content != "<p>") for content in ("<e>", "<e>>", "<s>", "<p>")]
    tokenizer = SimpleNamespace(added_tokens_decoder=dict(enumerate(tokens)))
    assert first_control_token("\n<e>>\n<s>", tokenizer) == "\n<e>>"
    assert first_control_token("\n<s><e>", tokenizer) == "\n<s>"
    assert first_control_token("<p> is no control token", tokenizer) == ""
    assert first_control_token("nothing", tokenizer) == ""


def test_a_replayed_answer_follows_the_generation_prompt(model: tuple[str, PromptLM]) -> None:
    name, lm = model
    chat = name != "base"
    end = end_of_turn(lm, chat)
    talk = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."}]
    example = conversation_example(talk, lm, chat, end)
    if not chat:
        assert example.text == f"Name a colour.\nBlue.{end}"
        return
    rendered = lm.tokenizer.apply_chat_template(talk, tokenize=False)
    # Templates differ in white space before an answer of their own; the text is the one that generation would see.
    assert example.prompt == lm.tokenizer.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True)
    assert "".join(rendered.split()).startswith("".join(example.text.split()))
