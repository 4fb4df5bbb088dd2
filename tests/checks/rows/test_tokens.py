"""The strings that the rules about tokens look at are those that lm-eval scores."""

from pathlib import Path

import pytest

from fin_plugins.checks.read import read_task_file
from fin_plugins.checks.rows import tokens
from fin_plugins.checks.rows.tokenizer import load
from fin_plugins.common.locations import task_folder

DOCUMENTS = 3


@pytest.mark.parametrize("name", ["fin_fomc", "fin_finred"])
@pytest.mark.parametrize("chat", [False, True])
def test_prompts_and_labels_are_those_of_lm_eval(name, chat, sample_data, demo_model_path):
    from lm_eval.tasks import TaskManager

    tokenizer = load(str(demo_model_path))
    task = TaskManager(include_defaults=False, include_path=str(task_folder())).load([name])["tasks"][name]
    lm = tokenizer._lm
    task.build_all_requests(
        limit=DOCUMENTS,
        rank=0,
        world_size=1,
        apply_chat_template=chat,
        chat_template=lm.apply_chat_template if chat else None,
        tokenizer_name=lm.tokenizer_name if chat else "",
    )
    path = task_folder() / "fin" / f"{name}.yaml"
    file = read_task_file(path, str(path)).file
    assert file is not None
    made = [
        (tokens.prompt(file.data, document, tokenizer, chat), tokens.before_label(file.data, chat) + word)
        for document in task.test_docs().select(range(DOCUMENTS))
        for word in document["choices"]
    ]
    assert made == [request.args for request in task.instances]


@pytest.mark.parametrize(
    ("prefix", "delimiter", "chat", "between"),
    [
        ("label:", None, True, " "),
        ("label:", None, False, " "),
        (None, None, True, ""),
        (None, None, False, " "),
        ("label: ", None, True, ""),
        ("label:", "", True, ""),
    ],
)
def test_what_stands_between_prompt_and_label(prefix, delimiter, chat, between):
    task = {"gen_prefix": prefix} | ({} if delimiter is None else {"target_delimiter": delimiter})
    assert tokens.before_label(task, chat) == between


def test_the_context_is_the_smaller_of_what_the_files_say(demo_model_path: Path):
    assert load(str(demo_model_path)).context == 8192
