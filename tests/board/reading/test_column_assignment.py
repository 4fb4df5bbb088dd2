"""Columns hold equal conditions and the newest run of each model, in a fixed order."""

from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.board_data import Column
from fin_plugins.board.reading.load_runs import load_runs
from tests.board.reading.result_fixtures import Edit, Run, columns, config, fin, model

OTHER = "2026-03-03T03-03-03"


def copy_two(real_run: Run, root: Path, *edits: Edit) -> tuple[Run, Run]:
    """The same run of two models, the second modified."""
    return (
        real_run.copy(root / "a", model(pretrained="org/one")),
        real_run.copy(root / "b", model(pretrained="org/two"), *edits),
    )


def fomc(root: Path) -> list[Column]:
    return [column for column in load_runs([root]).columns if column.task == "fin_fomc"]


def use_chat(data: dict[str, Any]) -> None:
    data.update(chat_template="{{ messages }}", chat_template_sha="t")


def use_fewshot(data: dict[str, Any]) -> None:
    data["configs"]["fin_fomc"]["num_fewshot"] = data["n-shot"]["fin_fomc"] = 5


def use_real_rows(data: dict[str, Any]) -> None:
    data["configs"]["fin_fomc"]["metadata"]["fin"]["data"] = "real"
    del data["results"]["fin_fomc"]["sample_rows,none"]


def raise_version(data: dict[str, Any]) -> None:
    data["versions"]["fin_fomc"] = 2.0


def limit(data: dict[str, Any]) -> None:
    data["n-samples"]["fin_fomc"]["original"] = 496


def test_equal_runs_of_two_models_share_their_columns(real_run: Run, tmp_path: Path) -> None:
    copy_two(real_run, tmp_path)
    reading = load_runs([tmp_path])
    assert [[entry.model for entry in column.entries] for column in reading.columns] == [["one", "two"]] * 3
    assert [column.title for column in reading.columns] == ["fomc", "deal", "deal"]


@pytest.mark.parametrize(
    ("edit", "first", "second"),
    [
        (use_chat, "no chat template", "a chat template"),
        (use_fewshot, "0 few-shot examples", "5 few-shot examples"),
        (raise_version, "task version 2.0", "task version 1.0"),
        (use_real_rows, "the real rows", "the embedded sample rows"),
        (limit, "all documents", "24 documents only"),
    ],
)
def test_other_conditions_are_another_column(
    edit: Edit, first: str, second: str, real_run: Run, tmp_path: Path
) -> None:
    copy_two(real_run, tmp_path, edit)
    columns_of_task = fomc(tmp_path)
    assert [column.key for column in columns_of_task] == ["fin_fomc", "fin_fomc~2"]
    for column, words in zip(columns_of_task, (first, second), strict=True):
        assert len(column.entries) == 1
        assert words in column.title
        assert column.explanation.startswith("Kept apart from the task's other columns; here: ")
        assert words in column.explanation
        assert words == column.title.partition("(")[2].rstrip(")")  # and nothing else
    untouched = [column for column in load_runs([tmp_path]).columns if column.key == "fin_deal"]
    assert len(untouched[0].entries) == (1 if edit is use_chat else 2)


@pytest.mark.parametrize(
    "edit",
    [
        config("fin_fomc", doc_to_text="Another instruction: {{text}}"),
        config("fin_fomc", description="You are an analyst."),
        config("fin_fomc", gen_prefix="answer:"),
        config("fin_fomc", target_delimiter=""),
        config("fin_fomc", doc_to_choice=["h", "d", "n"]),
        lambda data: data.update(system_instruction="Be brief.", system_instruction_sha="s"),
    ],
)
def test_another_prompt_is_another_column(edit: Edit, real_run: Run, tmp_path: Path) -> None:
    copy_two(real_run, tmp_path, edit)
    first, second = fomc(tmp_path)
    assert first.conditions.prompt != second.conditions.prompt
    assert f"prompt {first.conditions.prompt[-6:]}" in first.explanation


@pytest.mark.parametrize(
    "edit",
    [
        config("fin_fomc", fewshot_delimiter="###", fewshot_config={"sampler": "first_n"}),
        config("fin_fomc", metric_list=[], custom_dataset="<function load at 0x7f>", repeats=1),
        lambda data: data["config"].update(batch_size=64, device="cuda:1", fewshot_seed=5),
        lambda data: data.update(fewshot_as_multiturn=True, pretty_env_info="another machine"),
    ],
)
def test_settings_outside_the_prompt_separate_nothing(edit: Edit, real_run: Run, tmp_path: Path) -> None:
    copy_two(real_run, tmp_path, edit)
    (column,) = fomc(tmp_path)
    assert len(column.entries) == 2


def test_addresses_of_functions_are_not_part_of_a_prompt(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "a", model(pretrained="org/one"), config("fin_fomc", doc_to_text="<function f at 0x7fa>"))
    real_run.copy(tmp_path / "b", model(pretrained="org/two"), config("fin_fomc", doc_to_text="<function f at 0x8fb>"))
    (column,) = fomc(tmp_path)
    assert len(column.entries) == 2


def test_few_shot_examples_and_their_seed_are_part_of_the_prompt(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "a", model(pretrained="org/one"), use_fewshot)
    real_run.copy(
        tmp_path / "b", model(pretrained="org/two"), use_fewshot, lambda data: data["config"].update(fewshot_seed=5)
    )
    real_run.copy(
        tmp_path / "c", model(pretrained="org/three"), use_fewshot, config("fin_fomc", fewshot_delimiter="###")
    )
    assert [len(column.entries) for column in fomc(tmp_path)] == [1, 1, 1]


def test_other_documents_are_another_column(real_run: Run, tmp_path: Path) -> None:
    _, second = copy_two(real_run, tmp_path, lambda data: data.update(task_hashes={}))
    second.edit_lines("fin_fomc", lambda line: line.update(doc_hash=line["doc_hash"][::-1]))
    first, separate = fomc(tmp_path)
    assert f"documents {first.conditions.rows[:6]}" in first.explanation
    assert first.conditions.rows != separate.conditions.rows


def test_samples_reveal_other_prompts(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "c", model(pretrained="org/three"))
    _, second = copy_two(real_run, tmp_path, lambda data: data.update(task_hashes={}))
    second.edit_lines("fin_fomc", lambda line: line.update(prompt_hash=line["prompt_hash"][::-1]))
    usual, separate = sorted(fomc(tmp_path), key=lambda column: -len(column.entries))
    assert ([entry.model for entry in usual.entries], [entry.model for entry in separate.entries]) == (
        ["one", "three"],
        ["two"],
    )
    assert f"prompt {separate.conditions.prompt[-6:]}" in separate.explanation


def test_prompts_of_another_template_are_not_compared(real_run: Run, tmp_path: Path) -> None:
    """Each model has its own template; models share the prompt of the task file."""
    runs = (real_run.copy(tmp_path / name, model(pretrained=name), use_chat) for name in ("one", "two"))
    for name, run in zip(("one", "two"), runs, strict=True):
        run.edit(lambda data, name=name: data.update(chat_template_sha=name, task_hashes={}))  # type: ignore[misc]
        run.edit_lines("fin_fomc", lambda line, name=name: line.update(prompt_hash=name))  # type: ignore[misc]
    (column,) = fomc(tmp_path)
    assert len(column.entries) == 2


@pytest.mark.parametrize("dated", [True, False])
def test_date_in_a_prompt_separates_nothing(dated: bool, real_run: Run, tmp_path: Path) -> None:
    template = "{{ strftime_now('%d %b %Y') }}" if dated else "{{ messages }}"
    for name, day in (("one", "26 Jul 2026"), ("two", "3 Aug 2026")):

        def on_that_day(line: dict[str, Any], day: str = day) -> None:
            line["prompt_hash"] = day
            line["arguments"]["gen_args_0"]["arg_0"] = f"Today Date: {day}\n{line['doc']['text']}"

        run = real_run.copy(tmp_path / name, model(pretrained=name), use_chat)
        run.edit(lambda data: data.update(chat_template=template, task_hashes={}))
        run.edit_lines("fin_fomc", on_that_day)
    assert [len(column.entries) for column in fomc(tmp_path)] == ([2] if dated else [1, 1])


def test_newest_run_wins(real_run: Run, tmp_path: Path) -> None:
    """The date in the file decides, not its name."""
    for number, date in enumerate((200.0, 300.0, 100.0)):
        real_run.copy(tmp_path / f"{number}", lambda data, date=date: data.update(date=date))  # type: ignore[misc]
    reading = load_runs([tmp_path])
    newest = columns(reading)["fin_fomc"].entries
    assert [entry.source.date for entry in newest] == [300.0]
    assert newest[0].notes[-1] == "Stands for 2 older runs of this model too, listed apart."
    older = [(entry.task, entry.protocol, entry.source.date) for entry in reading.older]
    assert sorted(older) == sorted(
        (task, protocol, date)
        for task, protocol in (("fin_fomc", "choice"), ("fin_deal", "choice"), ("fin_deal", "gen"))
        for date in (100.0, 200.0)
    )


def test_older_run_under_other_conditions_stays(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "a", lambda data: data.update(date=1.0), use_chat)
    real_run.copy(tmp_path / "b", lambda data: data.update(date=2.0))
    reading = load_runs([tmp_path])
    assert reading.older == ()
    assert len(reading.columns) == 6


def test_broken_run_replaces_no_older_one(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "a", lambda data: data.update(date=1.0))
    broken = real_run.copy(tmp_path / "b", lambda data: data.update(date=2.0), stamp=OTHER)
    broken.edit(lambda data: data["results"]["fin_fomc"].update({"acc,none": 0.1234}))
    reading = load_runs([tmp_path])
    assert columns(reading)["fin_fomc"].entries[0].source.date == 1.0
    assert columns(reading)["fin_deal"].entries[0].source.date == 2.0
    assert [problem.is_error for problem in reading.problems] == [True]


def test_columns_come_seen_first_then_unseen_then_others(real_run: Run, tmp_path: Path) -> None:
    def become(data: dict[str, Any]) -> None:
        for name in ("fin_causal", "fin_fpb", "zebra", "alpha"):
            for part in ("results", "configs", "versions", "n-samples"):
                data[part][name] = data[part]["fin_deal"]
        data["configs"] = {name: {**value, "metadata": {"fin": {}}} for name, value in data["configs"].items()}
        for name in ("fin_fomc", "fin_fpb"):
            data["configs"][name]["metadata"] = {"fin": {"seen": True}}
        for name in ("fin_causal", "fin_deal", "fin_deal_gen"):
            data["configs"][name]["metadata"] = {"fin": {"seen": False}}

    real_run.copy(tmp_path, become)
    keys = [column.key for column in load_runs([tmp_path]).columns]
    assert keys == ["fin_fpb", "fin_fomc", "fin_deal", "fin_deal_gen", "fin_causal", "alpha", "zebra"]


def test_unrecorded_documents_are_noted(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path, fin("fin_fomc", content_hash={}))
    run.samples("fin_fomc").unlink()
    (column,) = fomc(tmp_path)
    assert column.conditions.rows == "unrecorded"
    assert "Which documents these were is not recorded." in column.entries[0].notes
    real_run.copy(tmp_path / "b", model(pretrained="org/two"))
    assert sorted("unrecorded documents" in column.title for column in fomc(tmp_path)) == [False, True]
