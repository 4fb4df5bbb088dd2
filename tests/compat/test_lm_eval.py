"""Assumptions of `compat/lm_eval` about lm-eval; an upgrade that breaks one fails here first."""

import inspect
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fin_plugins.compat.lm_eval import command_line, installation, logs, prompts, schema
from fin_plugins.compat.lm_eval.models import encode_pair, score_tokens
from fin_plugins.compat.lm_eval.tasks import TaskIndex, read_task_file

TASK = """
tag: {tag}
dataset_path: json
dataset_kwargs: {{data_files: {{train: {rows}, test: {rows}}}}}
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_choice: [up, down]
doc_to_target: label
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Task files of two tasks with a common include and tag, and of a group of both."""
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n')
    (tmp_path / "_base").write_text(TASK.format(tag="both", rows=tmp_path / "rows.jsonl"))
    (tmp_path / "one.yaml").write_text("include: _base\ntask: one\nprocess_docs: !function os.path.join\n")
    (tmp_path / "two.yaml").write_text("include: _base\ntask: two\n")
    (tmp_path / "pair.yaml").write_text("group: pair\ntask: [two, {task: one}]\n")
    return tmp_path


def test_the_index_holds_tasks_groups_and_tags_of_a_folder_with_their_files(folder: Path) -> None:
    index = TaskIndex([folder])
    assert set(index) == {"one", "two", "pair", "both"}
    assert index.file("one") == folder / "one.yaml" and index.file("pair") == folder / "pair.yaml"
    assert index.file("both") is None and index.file("nowhere") is None
    assert index.is_task("one") and not index.is_task("pair") and not index.is_task("both")
    assert index.members("pair") == ["two", "one"] and index.members("both") == ["one", "two"]
    assert index.members("one") is None


def test_a_later_folders_task_replaces_an_earlier_ones(folder: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    (later / "mine.yaml").write_text("task: one\n")
    assert TaskIndex([folder, later]).file("one") == later / "mine.yaml"


def test_a_task_file_is_read_with_its_includes_and_functions_as_text(folder: Path) -> None:
    config = read_task_file(folder / "one.yaml")
    assert config["training_split"] == "train" and config["doc_to_choice"] == ["up", "down"]
    assert isinstance(config["process_docs"], str) and config["process_docs"].endswith("os.path.join")


def test_added_tasks_and_groups_can_be_loaded_and_a_group_overrides_keys_of_its_tasks(folder: Path) -> None:
    index = TaskIndex()
    assert index.add_file(folder / "two.yaml") == "two" and index.add_file(folder / "nowhere.yaml") is None
    index.add_file(folder / "two.yaml", "by another name")
    assert index.file("by another name") == folder / "two.yaml"
    index.add_group("around", ["two"], test_split="train", doc_to_text="given by the group")
    loaded = index.load("around")
    assert list(loaded) == ["two"]
    assert loaded["two"].config.test_split == "train" and loaded["two"].config.doc_to_text == "given by the group"
    index.add_folder(folder)
    assert "pair" in index


def test_a_task_builds_one_request_per_label_for_its_test_split(folder: Path) -> None:
    index = TaskIndex()
    index.add_file(folder / "two.yaml")
    task = index.load("two")["two"]
    task.build_all_requests(rank=0, world_size=1)
    assert [request.args for request in task.instances] == [("a", " up"), ("a", " down"), ("b", " up"), ("b", " down")]
    assert [request.doc_id for request in task.instances] == [0, 0, 1, 1]


def test_templates_are_rendered_by_a_function_looked_up_at_each_call(folder: Path) -> None:
    index = TaskIndex()
    index.add_file(folder / "two.yaml")
    task = index.load("two")["two"]
    with prompts.templates_rendered_by(lambda template, row: f"ours: {row['text']}"):
        assert task.doc_to_text({"text": "x"}) == "ours: x"
    assert task.doc_to_text({"text": "x"}) == "x"


def test_the_index_is_a_separate_module_and_lists_the_files_it_reads(folder: Path) -> None:
    package = Path(sys.modules["lm_eval"].__file__ or "").parent
    assert installation.has_index(package)
    overridden = installation.overridden_names()
    index = installation.build_index([folder, folder])
    assert index["one"] == folder / "one.yaml" and index["both"] is None
    assert set(overridden) == {"one", "two", "pair", "both"}, "lm-eval logs names that are defined twice"


def test_the_index_walks_a_folder_by_a_static_method_that_takes_the_folder() -> None:
    from lm_eval.tasks import _index

    walk = inspect.getattr_static(_index.TaskIndex, "_iter_yaml_files")
    assert isinstance(walk, staticmethod) and list(inspect.signature(walk.__func__).parameters) == ["root"]
    build = inspect.getattr_static(_index.TaskIndex, "build")
    assert isinstance(build, staticmethod), "lm_eval_hook wraps a static method"
    assert next(iter(inspect.signature(build.__func__).parameters)) == "paths"


def test_the_parser_reports_unknown_and_invalid_arguments() -> None:
    assert command_line.unknown_arguments(["run", "--tasks", "fin", "--limt", "3"]) == ["--limt", "3"]
    with pytest.raises(command_line.BadArguments, match="--num_fewshot"):
        command_line.unknown_arguments(["run", "--num_fewshot", "many"])
    options = command_line.options_of("run")
    assert {"--tasks", "--model", "--model_args", "--limit", "--include_path", "--config"} <= set(options)
    assert "--include_path" in command_line.options_of("ls")
    assert "--include_path" in command_line.options_of("validate")


def test_parsed_arguments_make_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.config.evaluate_config import EvaluatorConfig

    monkeypatch.setattr(sys, "argv", ["before"])
    words = ["run", "--model", "dummy", "--model_args", "pretrained=x,dtype=float32", "--tasks", "a,b", "--limit", "3"]
    settings = EvaluatorConfig.from_cli(command_line.parse(words))
    assert settings.model == "dummy" and settings.tasks == ["a", "b"] and settings.limit == 3
    assert settings.model_args == {"pretrained": "x", "dtype": "float32"}


def test_errors_for_unknown_tasks_and_functions_are_recognised_by_their_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval.tasks
    from lm_eval.config.evaluate_config import EvaluatorConfig

    manager_without_defaults = partial(lm_eval.tasks.TaskManager, include_defaults=False)  # which take seconds
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", manager_without_defaults)
    monkeypatch.setattr(sys, "argv", ["before"])
    words = ["run", "--model", "dummy", "--tasks", "one,no_such", "--include_path", str(folder)]
    settings = EvaluatorConfig.from_cli(command_line.parse(words))
    with pytest.raises(ValueError) as raised:
        settings.process_tasks()
    missing = command_line.tasks_not_found(raised.value)
    assert missing is not None and missing.names == ("no_such",)
    assert command_line.tasks_not_found(ValueError("something else")) is None
    (folder / "bad.yaml").write_text("include: _base\ntask: bad\nprocess_docs: !function no_such_module.f\n")
    with pytest.raises(ImportError) as unknown:
        TaskIndex([folder]).load("bad")
    assert command_line.is_unknown_function(unknown.value)
    assert not command_line.is_unknown_function(ImportError("no torch"))


def test_the_schema_is_read_from_dataclasses_and_registries() -> None:
    assert {"task", "doc_to_text", "metric_list", "test_split", "metadata", "process_results"} <= set(
        schema.task_types()
    )
    assert {"group", "task", "aggregate_metric_list", "metadata"} <= set(schema.group_types())
    assert {"metric", "aggregation", "weight_by_size"} <= set(schema.aggregate_types())
    assert {"sampler", "samples"} <= set(schema.fewshot_types())
    assert {"acc", "f1", "mcc", "exact_match"} <= schema.metrics() and "mean" in schema.aggregations()
    assert "acc" in schema.metrics_with_aggregation()
    assert {"regex", "take_first"} <= schema.filters() and "first_n" in schema.samplers()
    assert {"acc", "f1", "mcc", "acc_norm"} <= schema.choice_metrics()


def test_prompts_are_joined_from_messages() -> None:
    plain, messages = prompts.join_prompt("System.", "Is it up?", "label:", " ")
    assert plain == "System.Is it up? label:"
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    assert messages[2]["content"] == "label:"
    assert prompts.join_prompt("", "Text\n", "label:", " ")[0] == "Text\nlabel:"


def test_generation_settings_have_one_length_and_a_list_of_stop_strings() -> None:
    settings = prompts.generation_settings({"until": "\n", "do_sample": False, "max_new_tokens": 7}, 256)
    assert settings["max_gen_toks"] == 7 and prompts.stop_strings(settings["until"], "</s>") == ["\n", "</s>"]
    assert prompts.generation_settings({"until": []}, 256)["max_gen_toks"] == 256
    assert prompts.cut_reply("up\nand more", ["\n"]) == "up"
    assert prompts.has_bos_prefix("<s>a", "<s>") and not prompts.has_bos_prefix("a", "<s>")
    filters, tests = prompts.template_filters()
    assert "regex_replace" in filters and "defined" in tests


def test_the_suppressed_log_messages_are_in_lm_evals_source() -> None:
    package = Path(sys.modules["lm_eval"].__file__ or "").parent
    files = [package / "api" / "task.py", package / "evaluator.py", package / "config" / "evaluate_config.py"]
    files += [*(package / "models").glob("*.py"), *(package / "_cli").glob("*.py"), package / "api" / "model.py"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files).replace('"\n', "")
    for noise in logs.NOISE:
        assert noise in text or noise in " ".join(text.split()), noise


def test_the_evaluator_looks_up_the_commit_by_a_module_level_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lm_eval import evaluator

    assert "get_git_commit_hash()" in inspect.getsource(evaluator.simple_evaluate)
    before = evaluator.get_git_commit_hash
    monkeypatch.chdir(tmp_path)
    with logs.quiet_git():
        assert evaluator.get_git_commit_hash() is None
    assert evaluator.get_git_commit_hash is before


class CharacterTokenizer:
    """A tokenizer with one token per character, with all that `TemplateLM._encode_pair` needs."""

    tokenizer = SimpleNamespace(chat_template=None)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return [ord(letter) for letter in string]


def test_a_template_lm_encodes_a_pair_with_the_space_at_the_continuation() -> None:
    from fin_plugins.compat.lm_eval.template_lm import TokenScoringLM

    class LengthScoringLM(CharacterTokenizer, TokenScoringLM):
        eot_token_id = 0
        loglikelihood_rolling = generate_until = None  # type: ignore[assignment]

        def score_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            return [(-float(len(continuation)), disable_tqdm) for _, _, continuation in requests]

    lm = LengthScoringLM()
    assert encode_pair(lm, "ab ", "c") == ([97, 98], [32, 99])
    assert score_tokens(lm, [(None, [1], [2, 3])], silent=True) == [(-2.0, True)]


def test_a_metric_list_is_not_compared_with_the_output_type(folder: Path) -> None:
    """lm-eval 0.5.0.dev1 rejects such a task; see the docstring of `compat/lm_eval`."""
    text = "include: _base\ntask: gen\noutput_type: generate_until\nmetric_list: [{metric: acc}]\n"
    (folder / "gen.yaml").write_text(text)
    index = TaskIndex()
    index.add_file(folder / "gen.yaml")
    assert index.load("gen")["gen"].OUTPUT_TYPE == "generate_until"
