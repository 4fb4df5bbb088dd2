"""Loading tasks for training: lm-eval's own objects, without test rows."""

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data.split_guard import block_test_split as rows_closed
from fin_plugins.training.training_tasks import load_tasks

pytestmark = pytest.mark.usefixtures("sample_data")


def loaded(*names):
    with rows_closed():
        return load_tasks(names)


def test_a_task_has_train_and_validation_rows_and_no_test_rows():
    (task,) = loaded("fin_fomc")["fin_fomc"]
    assert sorted(task.task.dataset) == ["train", "validation"]
    assert task.task.config.test_split is None
    assert not task.task.has_test_docs()
    assert (task.seen, task.dataset) == (True, "fomc")
    assert len(task.documents("training")) == 24


def test_without_the_guard_nothing_is_loaded():
    with pytest.raises(FinError, match="block_test_split"):
        load_tasks(["fin_fomc"])


def test_a_group_stands_for_its_tasks():
    found = loaded("fin_seen", "fin_argument")
    names = [task.name for task in found["fin_seen"]]
    assert names == ["fin_fpb", "fin_fiqa", "fin_headline", "fin_finred", "fin_fomc"]
    assert all(set(task.task.dataset) <= {"train", "validation"} for tasks in found.values() for task in tasks)
    assert found["fin_argument"][0].seen is False


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(("fin_fomcc",), "no such task", marks=pytest.mark.prove),  # reads all of lm-eval's tasks
        (("fin_fomc_gen",), "not a multiple-choice task.*train on fin_fomc, whose prompt is the same"),
        (("fin_deal",), "fin_deal: cannot be trained on: no validation and no train rows"),
        (("fin_seen", "fin_fomc"), "fin_fomc would be trained on twice"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(names, message):
    with pytest.raises(FinError, match=message):
        loaded(*names)


TASK = """
task: my_task
dataset_path: json
dataset_kwargs: {{data_files: {{train: {folder}/train.jsonl, heldout: {folder}/heldout.jsonl}}}}
output_type: multiple_choice
training_split: train
test_split: heldout
doc_to_text: "Colour: {{{{thing}}}}"
doc_to_choice: [red, green]
doc_to_target: label
"""


def test_a_custom_task_by_path(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"thing": "grass", "label": "green"}\n{"thing": "blood", "label": "red"}\n')
    (tmp_path / "heldout.jsonl").write_text('{"thing": "poppy", "label": "red"}\n')
    (tmp_path / "my_task.yaml").write_text(TASK.format(folder=tmp_path))
    name = str(tmp_path / "my_task.yaml")
    (task,) = loaded(name)[name]
    assert (task.name, task.dataset, task.seen) == ("my_task", "my_task", None)
    assert list(task.task.dataset) == ["train"]
    documents = task.documents("training")
    assert [task.gold(document) for document in documents] == [1, 0]
    assert task.text(documents[0]) == "Colour: grass"
    with pytest.raises(FinError, match="label 'blue', which is none of red, green"):
        task.gold({"thing": "sky", "label": "blue"})


def test_a_custom_group_by_path_finds_its_members_in_its_folder(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"thing {n},{'ab'[n % 2]}\n" for n in range(20)))
    (tmp_path / "custom.yaml").write_text(CUSTOM)
    group = tmp_path / "group.yaml"
    group.write_text("group: my_group\ntask: [custom, fin_fomc]\n")
    found = loaded(str(group))[str(group)]
    assert [task.name for task in found] == ["custom", "fin_fomc"]
    assert set(found[0].task.dataset) == {"train", "validation"}
    assert len(found[0].documents("training")) == 14


CUSTOM = """
task: custom
custom_dataset: !function fin_plugins.tasks.own.load
dataset_kwargs: {file: rows.csv, labels: [a, b], splits: {test: 0.2, validation: 0.1}}
training_split: train
validation_split: validation
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: choices
doc_to_target: gold
"""
