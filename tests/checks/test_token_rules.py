"""The rules on tokens look at the strings that lm-eval scores."""

from pathlib import Path

import pytest

from fin_plugins.checks.runner import CheckOptions
from fin_plugins.checks.token_rules import assemble_prompt, label_delimiter, load_tokenizer
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.evaluation.prompt_lm import PromptLM
from tests.checks.check_helpers import load, row_findings, write_row_task

DOCUMENTS = 3


@pytest.mark.parametrize("name", ["fin_fomc", "fin_finred"])
@pytest.mark.parametrize("chat", [False, True])
def test_prompts_and_labels_are_those_of_lm_eval(name, chat, sample_data, demo_model_path):
    from lm_eval.tasks import TaskManager

    task = TaskManager(include_defaults=False, include_path=str(task_folder())).load([name])["tasks"][name]
    lm = PromptLM("fin_vllm", {"pretrained": str(demo_model_path)})
    task.build_all_requests(
        limit=DOCUMENTS,
        rank=0,
        world_size=1,
        apply_chat_template=chat,
        chat_template=lm.apply_chat_template if chat else None,
        tokenizer_name=lm.tokenizer_name if chat else "",
    )
    data, tokenizer = load(task_folder() / "fin" / f"{name}.yaml").data, load_tokenizer(str(demo_model_path))
    pairs = [
        (assemble_prompt(data, document, tokenizer, chat), label_delimiter(data, chat) + word)
        for document in task.test_docs().select(range(DOCUMENTS))
        for word in document["choices"]
    ]
    assert pairs == [request.args for request in task.instances]


@pytest.mark.parametrize(
    ("prefix", "delimiter", "chat", "expected"),
    [
        ("label:", None, True, " "),
        ("label:", None, False, " "),
        (None, None, True, ""),
        (None, None, False, " "),
        ("label: ", None, True, ""),
        ("label:", "", True, ""),
    ],
)
def test_delimiter_between_prompt_and_label(prefix, delimiter, chat, expected):
    task = {"gen_prefix": prefix} | ({} if delimiter is None else {"target_delimiter": delimiter})
    assert label_delimiter(task, chat) == expected


def test_the_context_is_the_smallest_that_the_files_state(demo_model_path: Path):
    assert load_tokenizer(str(demo_model_path)).context == 8192


def test_a_missing_tokenizer(news_folder: Path):
    with pytest.raises(FinError, match=r"--tokenizer \./nowhere: "):
        row_findings(write_row_task(), CheckOptions(tokenizer="./nowhere"))
