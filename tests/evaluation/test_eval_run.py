"""Runs of `fin eval`: files as by lm-eval, resumed after interruptions, rejected commands in one line."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.eval_command import parse_command, split_flags
from fin_plugins.evaluation.eval_run import run_evaluation
from tests.evaluation.eval_workspace import TASKS, EngineLog, EvalWorkspace, logging_engine
from tests.evaluation.factories import adapter, change_settings

pytestmark = pytest.mark.usefixtures("quick")


def test_a_rerun_writes_nothing_and_starts_no_engine(
    finished: EvalWorkspace, capfd: pytest.CaptureFixture[str]
) -> None:
    before = finished.files()
    log = finished.run(*finished.flags())
    assert log == EngineLog()
    assert finished.files() == before
    printed = capfd.readouterr()
    assert "engine started" not in printed.err
    assert printed.err.count("from the cache") == 9 and "[9/9] two · reply: from the cache" in printed.err
    assert printed.out.count("| - first") == 3 and printed.out.count("|both") == 6  # groups have their own table
    assert "written before" in printed.err


def test_lists_of_result_files(finished: EvalWorkspace, tmp_path: Path) -> None:
    lists = {name: tmp_path / "lists" / f"{name}.json" for name in ("base", "two")}
    words = [word for name, file in lists.items() for word in ("--written", f"{name}={file}")]
    assert finished.run(*finished.flags(), *words) == EngineLog()
    for name, file in lists.items():
        content = json.loads(file.read_text())
        assert content["model"] == name and len(content["files"]) == 4
        paths = [(file.parent / path).resolve() for path in content["files"]]
        assert all(path.is_file() and finished.output.resolve() in path.parents for path in paths)
        result = json.loads(paths[-1].read_text())
        assert result["config"]["model_args"].get("adapter_name", "base") == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--written", "base"], "--written base: expected NAME=FILE"),
        (["--written", "on=x.json"], "no model is called on.*base, one, two"),
        (["--written", "base=x.json", "--no-base"], "one, two"),
        (["--written", "one=x.json", "--written", "one=y.json"], "lists for one"),
        (["--written", "one=x.json", "--written", "two=./x.json"], "two models have the same file"),
    ],
)
def test_invalid_lists(words: list[str], message: str, finished: EvalWorkspace) -> None:
    with pytest.raises(FinError, match=message):
        finished.run(*finished.flags(), *words)


def test_a_list_without_output_path() -> None:
    words = ["--model", "fin_hf", "--model_args", "pretrained=x", "--tasks", "fin_fomc", "--written", "base=x.json"]
    with pytest.raises(FinError, match=r"--written .*--output_path"):
        parse_command(*split_flags(words))


def test_a_stopped_run_resumes(workspace: EvalWorkspace, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(workspace.output)
    first = EngineLog(fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        workspace.run(*workspace.flags(), log=first)
    assert first.units == ["base first", "base second", "base reply", "one first", "one second"]
    assert "the same command resumes" in capfd.readouterr().err
    assert len(list(workspace.output.rglob("results_*.json"))) == 1  # the base's, complete
    second = workspace.run(*workspace.flags())
    assert second.units == ["one reply", "two first", "two second", "two reply"]
    assert second.starts == 1
    assert len(list(workspace.output.rglob("results_*.json"))) == 3
    assert len(list(workspace.output.rglob("samples_*.jsonl"))) == 9
    assert "engine started (1)" in capfd.readouterr().err


def test_a_run_killed_while_moving_its_files(workspace: EvalWorkspace) -> None:
    shutil.rmtree(workspace.output)
    workspace.run(*workspace.flags())
    (results,) = workspace.output.glob("*__one/results_*.json")
    left = results.with_name(next(results.parent.glob("samples_first_*")).name)
    results.unlink()
    assert left.exists()
    assert workspace.run(*workspace.flags()) == EngineLog()
    assert not left.exists()  # replaced by a complete set
    assert len(list(workspace.output.glob("*__one/*"))) == 4


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_entry_is_reported_and_scored_again(
    damage: str, workspace: EvalWorkspace, capfd: pytest.CaptureFixture[str]
) -> None:
    entries = {json.loads(file.read_text())["unit"]["model"]: file for file in workspace.output.rglob("units/*.json")}
    text = entries["two"].read_text()
    changed = {"cut": text[:-40], "changed": text.replace("false", "true", 1), "empty": ""}[damage]
    if damage == "changed" and changed == text:
        changed = text.replace('"documents": 4', '"documents": 5')
    entries["two"].write_text(changed)
    assert len(workspace.run(*workspace.flags()).units) == 1
    assert "is damaged" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--predict_only"],
        ["--show_config"],
        ["--write_out", "--num_fewshot", "1", "--fewshot_as_multiturn", "false"],
        ["--metadata", "note=1", "--trust_remote_code"],
    ],
)
def test_other_lm_eval_arguments(words: list[str], workspace: EvalWorkspace, capfd: pytest.CaptureFixture[str]) -> None:
    workspace.run(*words, tasks="first,reply")
    before, printed = workspace.files(), capfd.readouterr()
    assert printed.out.count("|reply") == 1 and ('"git_hash"' in printed.out) == ("--show_config" in words)
    results = workspace.results("base")
    assert results["configs"]["first"]["metadata"].get("note") == (1 if "--metadata" in words else None)
    assert results["config"]["model_args"].get("trust_remote_code") is (True if "--metadata" in words else None)
    assert ("bypass,none" in results["results"]["reply"]) == ("--predict_only" in words)
    assert workspace.run(*words, tasks="first,reply") == EngineLog()
    assert workspace.files() == before


def test_a_configuration_file(workspace: EvalWorkspace) -> None:
    file = workspace.root / "run.yaml"
    settings = {"model": "fin_hf", "tasks": ["first"], "apply_chat_template": True, "device": "cpu", "batch_size": 4}
    model = {
        "model_args": {"pretrained": str(workspace.base), "dtype": "float32"},
        "output_path": str(workspace.output),
    }
    file.write_text(json.dumps({**settings, **model, "include_path": str(workspace.root / "tasks")}))
    command = parse_command(*split_flags(["--config", str(file), *workspace.flags("one")]))
    log = EngineLog()
    run_evaluation(command, lambda: logging_engine(log, command))
    assert command.settings.model == "fin_hf" and [adapter.name for adapter in command.adapters] == ["one"]
    assert workspace.results("one")["config"]["model_args"]["adapter_name"] == "one"


def test_no_base(workspace: EvalWorkspace, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(workspace.output)
    assert workspace.run("--no-base", *workspace.flags()).units == [f"{m} {t}" for m in ("one", "two") for t in TASKS]
    assert not list(workspace.output.glob("*__base"))


def test_peft_in_model_args_is_the_same_model(workspace: EvalWorkspace) -> None:
    assert workspace.run(peft=str(workspace.adapter("one"))) == EngineLog()
    assert workspace.results("one")["config"]["model_args"] == {
        "pretrained": str(workspace.base),
        "dtype": "float32",
        "peft": str(workspace.adapter("one")),
    }


def test_without_an_output_path_nothing_is_saved(workspace: EvalWorkspace, capfd: pytest.CaptureFixture[str]) -> None:
    before = workspace.files()
    assert workspace.run("--output_path", "", tasks="first").units == ["base first"]
    assert workspace.files() == before
    printed = capfd.readouterr()
    assert "nothing is saved" in printed.err and "|first" in printed.out


def test_truncated_documents_are_counted_also_after_a_resume(
    workspace: EvalWorkspace, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace.change_row(text="Rates rose again. " * 20)
    short = {"max_length": 120}
    assert workspace.run(**short).starts == 1
    assert workspace.results("base")["config"]["fin"]["truncated"] == {"first": 1, "second": 1, "reply": 1}
    assert "base · first: 1 of 4 documents did not fit" in capfd.readouterr().err
    for file in workspace.output.glob("*__base/*"):
        file.unlink()
    assert workspace.run(**short) == EngineLog()
    assert workspace.results("base")["config"]["fin"]["truncated"] == {"first": 1, "second": 1, "reply": 1}
    assert "1 of 4 documents did not fit" in capfd.readouterr().err


def _key_paths(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield f"{path}/{name}"
            yield from _key_paths(below, f"{path}/{name}")


@pytest.mark.parametrize("model", ["base", "one"])
def test_files_are_those_of_stock_lm_eval(model: str, finished: EvalWorkspace, tmp_path: Path) -> None:
    arguments = f"pretrained={finished.base},dtype=float32"
    if model != "base":
        arguments += f",peft={finished.adapter(model)}"
    from lm_eval.__main__ import cli_evaluate

    with pytest.MonkeyPatch.context() as patch:
        words = ["lm_eval", "run", "--model", "hf", "--model_args", arguments, "--tasks", "both,reply"]
        words += ["--include_path", str(finished.root / "tasks"), "--device", "cpu", "--apply_chat_template"]
        patch.setattr(sys, "argv", [*words, "--output_path", str(tmp_path), "--log_samples", "--batch_size", "4"])
        cli_evaluate()
    (stock_file,) = tmp_path.glob(f"*__{model}/results_*.json")
    stock, ours = json.loads(stock_file.read_text()), finished.results(model)
    ours["config"].pop("fin")
    metadata = [task["metadata"] for task in ours["configs"].values()]
    for mapping in [ours["config"]["model_args"], *metadata]:
        assert mapping.pop("adapter_name", model) == model
    assert list(ours) == list(stock)
    assert set(_key_paths(ours)) == set(_key_paths(stock))
    assert (ours.pop("model_source"), stock.pop("model_source")) == ("fin_hf", "hf")
    assert (ours["config"].pop("model"), stock["config"].pop("model")) == ("fin_hf", "hf")
    for name in ("date", "git_hash", "total_evaluation_time_seconds"):
        del ours[name], stock[name]
    assert ours == stock
    assert (
        ours["groups"]["both"]["acc,none"]
        == (ours["results"]["first"]["acc,none"] + ours["results"]["second"]["acc,none"]) / 2
    )
    for task in TASKS:
        (ours_file,) = finished.output.glob(f"*__{model}/samples_{task}_*")
        (samples_file,) = stock_file.parent.glob(f"samples_{task}_*")
        for our_line, stock_line in zip(
            ours_file.read_text().splitlines(), samples_file.read_text().splitlines(), strict=True
        ):
            _check_same_sample(json.loads(our_line), json.loads(stock_line))


def _check_same_sample(ours: dict, stock: dict) -> None:
    assert list(ours) == list(stock)
    for name in ("resps", "filtered_resps"):
        answers = [sample.pop(name) for sample in (ours, stock)]
        flat = [[float(x) if x[:1] in "-0123456789" and x[1:2].isdigit() else x for x in _leaves(a)] for a in answers]
        assert flat[0] == pytest.approx(flat[1], abs=1e-3)
    assert ours == stock


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for below in value:
            yield from _leaves(below)
    else:
        yield str(value)


INVALID = {
    "adapter nine: .*is not a folder": ["--adapter", "nine=/no/such/folder"],
    "the name one": ["--adapter", "one={one}", "--adapter", "one={two}"],
    "same folder": ["--adapter", "one={one}", "--adapter", "three={one}"],
    "--use_cache": ["--use_cache", "x"],
    "--cache_requests": ["--cache_requests", "true"],
    "--wandb_args: .*use lm_eval itself": ["--wandb_args", "project=x"],
    "--no-base without an adapter": ["--no-base"],
    "--prune: fin_hf": ["--prune"],
    "Tasks not found: nosuch": ["--tasks", "nosuch"],
    "peft=.*--adapter": ["--model_args", "pretrained={base},peft={one}", "--adapter", "two={two}"],
    "lora_local_path": ["--model_args", "pretrained={base},lora_local_path={one}"],
    "names no model": ["--model_args", "dtype=float32"],
    "pretrained=/no/such/model": ["--model_args", "pretrained=/no/such/model"],
    "Specify|--samples is not None": ["--samples", '{"first": [0]}', "--limit", "1"],
}


@pytest.mark.parametrize("message", INVALID)
def test_invalid_commands_are_reported_in_one_line(message: str, finished: EvalWorkspace) -> None:
    places = {"one": finished.adapter("one"), "two": finished.adapter("two"), "base": finished.base}
    words = [word if '"' in word else word.format(**places) for word in INVALID[message]]
    arguments = ["--model", "fin_hf", "--tasks", "first", "--device", "cpu"]
    arguments += ["--include_path", str(finished.root / "tasks")]
    if "--model_args" not in words:
        arguments += ["--model_args", f"pretrained={finished.base}"]
    log = EngineLog()
    with pytest.raises(FinError, match=message) as error:
        command = parse_command(*split_flags([*arguments, *words]))
        run_evaluation(command, lambda: logging_engine(log, command))
    assert "\n" not in str(error.value)
    assert log == EngineLog()


def test_adapters_are_verified_once(workspace: EvalWorkspace, capfd: pytest.CaptureFixture[str]) -> None:
    first = workspace.run(*workspace.flags("one"), "--verify-adapters")
    assert (first.starts, first.units) == (1, [])  # all answers were cached, but not verified
    assert workspace.run(*workspace.flags("one"), "--verify-adapters") == EngineLog()
    assert workspace.run(*workspace.flags("one"), "--verify-adapters", dtype="bfloat16").starts == 1


def test_an_adapter_without_effect_is_rejected_before_the_first_score(workspace: EvalWorkspace) -> None:
    adapter(workspace.adapter("idle"), workspace.base, scale=0)
    log = EngineLog()
    with pytest.raises(FinError, match="adapter idle changes nothing"):
        workspace.run(*workspace.flags("one", "idle"), log=log, tasks="first", max_length=2000)
    assert log.units == []


def test_an_adapter_of_another_base_is_rejected_before_the_engine_starts(workspace: EvalWorkspace) -> None:
    change_settings(workspace.adapter("one"), base_model_name_or_path="someone/else")
    log = EngineLog()
    with pytest.raises(FinError, match="was trained on someone/else"):
        workspace.run(*workspace.flags("one"), log=log)
    assert log == EngineLog()
    assert workspace.run(*workspace.flags("one"), "--any-base").units == [f"one {task}" for task in TASKS]


def test_several_processes_are_rejected(finished: EvalWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(FinError, match=r"WORLD_SIZE=2.*need one process"):
        finished.run()


def test_two_simultaneous_runs_leave_complete_files(workspace: EvalWorkspace) -> None:
    shutil.rmtree(workspace.output)
    inner = EngineLog()
    outer = EngineLog(meanwhile={1: lambda: workspace.run(log=inner)})
    workspace.run(log=outer)
    assert inner.units == ["base second", "base reply"]
    assert outer.units == ["base first", "base second"]  # those found missing before the inner run
    assert workspace.run() == EngineLog()
    for file in workspace.output.rglob("*.json"):
        json.loads(file.read_text())
    assert not list(workspace.output.rglob("*.part")) and not list(workspace.output.rglob("writing-*"))
