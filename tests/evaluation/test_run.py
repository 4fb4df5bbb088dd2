"""`fin eval` over several models: files as lm-eval's, resuming, and never an answer made from something else."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.command import read, split
from fin_plugins.evaluation.run import run
from tests.evaluation.making import adapter, change_settings
from tests.evaluation.running import TASKS, Asked, World, counting

pytestmark = pytest.mark.usefixtures("quick")


def test_a_rerun_writes_nothing_and_starts_no_engine(finished: World, capfd: pytest.CaptureFixture[str]) -> None:
    before = finished.files()
    asked = finished.run(*finished.flags())
    assert asked == Asked()
    assert finished.files() == before
    printed = capfd.readouterr()
    assert "engine started" not in printed.err
    assert printed.err.count("from the store") == 9 and "[9/9] two · reply: from the store" in printed.err
    assert printed.out.count("| - first") == 3 and printed.out.count("|both") == 6  # groups have a table of their own
    assert "written before" in printed.err


def test_lists_of_what_was_written_now_or_before(finished: World, tmp_path: Path) -> None:
    lists = {name: tmp_path / "lists" / f"{name}.json" for name in ("base", "two")}
    words = [word for name, file in lists.items() for word in ("--written", f"{name}={file}")]
    assert finished.run(*finished.flags(), *words) == Asked()
    for name, file in lists.items():
        told = json.loads(file.read_text())
        assert told["model"] == name and len(told["files"]) == 4
        named = [(file.parent / one).resolve() for one in told["files"]]
        assert all(one.is_file() and finished.output.resolve() in one.parents for one in named)
        result = json.loads(named[-1].read_text())
        assert result["config"]["model_args"].get("adapter_name", "base") == name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--written", "base"], "--written base: expected NAME=FILE"),
        (["--written", "on=x.json"], "no model is called on here; there are base, one, two"),
        (["--written", "base=x.json", "--no-base"], "there are one, two"),
        (["--written", "one=x.json", "--written", "one=y.json"], "a list for one is asked for twice"),
        (["--written", "one=x.json", "--written", "two=./x.json"], "two models have the same file"),
    ],
)
def test_lists_of_nobody(words: list[str], said: str, finished: World) -> None:
    with pytest.raises(FinError, match=said):
        finished.run(*finished.flags(), *words)


def test_a_list_of_what_is_nowhere() -> None:
    words = ["--model", "fin_hf", "--model_args", "pretrained=x", "--tasks", "fin_fomc", "--written", "base=x.json"]
    with pytest.raises(FinError, match="--written lists the files that --output_path holds"):
        read(*split(words))


def test_a_stopped_run_goes_on_where_it_was(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(world.output)
    first = Asked(fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        world.run(*world.flags(), asked=first)
    assert first.units == ["base first", "base second", "base reply", "one first", "one second"]
    assert "the same command goes on" in capfd.readouterr().err
    assert len(list(world.output.rglob("results_*.json"))) == 1  # the base's, whole
    second = world.run(*world.flags())
    assert second.units == ["one reply", "two first", "two second", "two reply"]
    assert second.starts == 1
    assert len(list(world.output.rglob("results_*.json"))) == 3
    assert len(list(world.output.rglob("samples_*.jsonl"))) == 9
    assert "engine started (1)" in capfd.readouterr().err


def test_a_run_killed_while_its_files_were_put_in_place(world: World) -> None:
    shutil.rmtree(world.output)
    world.run(*world.flags())
    (results,) = world.output.glob("*__one/results_*.json")
    left = results.with_name(next(results.parent.glob("samples_first_*")).name)
    results.unlink()
    assert left.exists()
    assert world.run(*world.flags()) == Asked()
    assert not left.exists()  # the half set went, a whole one came
    assert len(list(world.output.glob("*__one/*"))) == 4


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_unit_is_asked_again_and_said(damage: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    units = {json.loads(file.read_text())["unit"]["model"]: file for file in world.output.rglob("units/*.json")}
    text = units["two"].read_text()
    changed = {"cut": text[:-40], "changed": text.replace("false", "true", 1), "empty": ""}[damage]
    if damage == "changed" and changed == text:
        changed = text.replace('"documents": 4', '"documents": 5')
    units["two"].write_text(changed)
    assert len(world.run(*world.flags()).units) == 1
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
def test_other_arguments_of_lm_evals(words: list[str], world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.run(*world.flags("one"), *words, tasks="first,reply")
    before, printed = world.files(), capfd.readouterr()
    assert printed.out.count("|reply") == 2 and ('"git_hash"' in printed.out) == ("--show_config" in words)
    results = world.results("one")
    assert results["configs"]["first"]["metadata"].get("note") == (1 if "--metadata" in words else None)
    assert results["config"]["model_args"].get("trust_remote_code") is (True if "--metadata" in words else None)
    assert ("bypass,none" in results["results"]["reply"]) == ("--predict_only" in words)
    assert world.run(*world.flags("one"), *words, tasks="first,reply") == Asked()
    assert world.files() == before


def test_a_configuration_file(world: World) -> None:
    file = world.root / "run.yaml"
    settings = {"model": "fin_hf", "tasks": ["first"], "apply_chat_template": True, "device": "cpu", "batch_size": 4}
    model = {"model_args": {"pretrained": str(world.base), "dtype": "float32"}, "output_path": str(world.output)}
    file.write_text(json.dumps({**settings, **model, "include_path": str(world.root / "tasks")}))
    command = read(*split(["--config", str(file), *world.flags("one")]))
    asked = Asked()
    run(command, lambda: counting(asked, command))
    assert command.settings.model == "fin_hf" and [one.name for one in command.adapters] == ["one"]
    assert world.results("one")["config"]["model_args"]["adapter_name"] == "one"


def test_no_base(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(world.output)
    assert world.run("--no-base", *world.flags()).units == [f"{m} {t}" for m in ("one", "two") for t in TASKS]
    assert not list(world.output.glob("*__base"))


def test_peft_as_lm_eval_takes_it_is_the_same_model(world: World) -> None:
    assert world.run(peft=str(world.adapter("one"))) == Asked()
    assert world.results("one")["config"]["model_args"] == {
        "pretrained": str(world.base),
        "dtype": "float32",
        "peft": str(world.adapter("one")),
    }


def test_without_an_output_path_nothing_is_kept(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    before = world.files()
    assert world.run("--output_path", "", tasks="first").units == ["base first"]
    assert world.files() == before
    printed = capfd.readouterr()
    assert "nothing is kept" in printed.err and "|first" in printed.out


def test_cut_documents_are_counted_in_the_result_file_and_after_a_resume(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.change_row(text="Rates rose again. " * 20)
    short = {"max_length": 120}
    assert world.run(**short).starts == 1
    assert world.results("base")["config"]["fin"]["truncated"] == {"first": 1, "second": 1, "reply": 1}
    assert "base · first: 1 of 4 documents did not fit and were cut" in capfd.readouterr().err
    for file in world.output.glob("*__base/*"):
        file.unlink()
    assert world.run(**short) == Asked()
    assert world.results("base")["config"]["fin"]["truncated"] == {"first": 1, "second": 1, "reply": 1}
    assert "1 of 4 documents did not fit" in capfd.readouterr().err


def _keys(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield f"{path}/{name}"
            yield from _keys(below, f"{path}/{name}")


@pytest.mark.parametrize("model", ["base", "one", "two"])
def test_files_are_those_of_stock_lm_eval(model: str, finished: World, tmp_path: Path) -> None:
    arguments = f"pretrained={finished.base},dtype=float32"
    if model != "base":
        arguments += f",peft={finished.adapter(model)}"
    from lm_eval.__main__ import cli_evaluate

    with pytest.MonkeyPatch.context() as patch:
        words = ["lm_eval", "run", "--model", "hf", "--model_args", arguments, "--tasks", "both,reply"]
        words += ["--include_path", str(finished.root / "tasks"), "--device", "cpu", "--apply_chat_template"]
        patch.setattr(sys, "argv", [*words, "--output_path", str(tmp_path), "--log_samples", "--batch_size", "4"])
        cli_evaluate()
    (theirs,) = tmp_path.glob(f"*__{model}/results_*.json")
    stock, ours = json.loads(theirs.read_text()), finished.results(model)
    ours["config"].pop("fin")
    for where in [ours["config"]["model_args"], *(one["metadata"] for one in ours["configs"].values())]:
        assert where.pop("adapter_name", model) == model
    assert list(ours) == list(stock)
    assert set(_keys(ours)) == set(_keys(stock))
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
        (mine,) = finished.output.glob(f"*__{model}/samples_{task}_*")
        (other,) = theirs.parent.glob(f"samples_{task}_*")
        for one, two in zip(mine.read_text().splitlines(), other.read_text().splitlines(), strict=True):
            _same_sample(json.loads(one), json.loads(two))


def _same_sample(ours: dict, stock: dict) -> None:
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


REFUSED = {
    "adapter nine: .*is not a folder": ["--adapter", "nine=/no/such/folder"],
    "the name one is given twice": ["--adapter", "one={one}", "--adapter", "one={two}"],
    "same folder": ["--adapter", "one={one}", "--adapter", "three={one}"],
    "--use_cache does not know the model": ["--use_cache", "x"],
    "--cache_requests does not know the prompt": ["--cache_requests", "true"],
    "--wandb_args: .*use lm_eval itself": ["--wandb_args", "project=x"],
    "--no-base without an adapter": ["--no-base"],
    "--prune: fin_hf": ["--prune"],
    "Tasks not found: nosuch": ["--tasks", "nosuch"],
    "peft=.* stands beside --adapter": ["--model_args", "pretrained={base},peft={one}", "--adapter", "two={two}"],
    "lora_local_path": ["--model_args", "pretrained={base},lora_local_path={one}"],
    "names no model": ["--model_args", "dtype=float32"],
    "pretrained=/no/such/model": ["--model_args", "pretrained=/no/such/model"],
    "Specify|--samples is not None": ["--samples", '{"first": [0]}', "--limit", "1"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message: str, finished: World) -> None:
    places = {"one": finished.adapter("one"), "two": finished.adapter("two"), "base": finished.base}
    words = [word if '"' in word else word.format(**places) for word in REFUSED[message]]
    given = ["--model", "fin_hf", "--tasks", "first", "--include_path", str(finished.root / "tasks"), "--device", "cpu"]
    if "--model_args" not in words:
        given += ["--model_args", f"pretrained={finished.base}"]
    asked = Asked()
    with pytest.raises(FinError, match=message) as error:
        command = read(*split([*given, *words]))
        run(command, lambda: counting(asked, command))
    assert "\n" not in str(error.value)
    assert asked == Asked()


def test_adapters_are_verified_once(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    first = world.run(*world.flags("one"), "--verify-adapters")
    assert (first.starts, first.units) == (1, [])  # all answers were there; whether they are PEFT's was not known
    assert world.run(*world.flags("one"), "--verify-adapters") == Asked()
    assert world.run(*world.flags("one"), "--verify-adapters", dtype="bfloat16").starts == 1


def test_an_adapter_that_changes_nothing_is_refused_before_the_first_score(world: World) -> None:
    adapter(world.adapter("idle"), world.base, scale=0)
    asked = Asked()
    with pytest.raises(FinError, match="adapter idle changes nothing"):
        world.run(*world.flags("one", "idle"), asked=asked, tasks="first", max_length=2000)
    assert asked.units == []


def test_an_adapter_of_another_base_is_refused_before_the_engine(world: World) -> None:
    change_settings(world.adapter("one"), base_model_name_or_path="someone/else")
    asked = Asked()
    with pytest.raises(FinError, match="was trained on someone/else"):
        world.run(*world.flags("one"), asked=asked)
    assert asked == Asked()
    assert world.run(*world.flags("one"), "--any-base").units == [f"one {task}" for task in TASKS]


def test_several_processes_are_refused(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(FinError, match=r"WORLD_SIZE=2.*need one process"):
        finished.run()


def test_two_runs_at_once_leave_whole_files(world: World) -> None:
    shutil.rmtree(world.output)
    inner = Asked()
    outer = Asked(meanwhile={1: lambda: world.run(asked=inner)})
    world.run(asked=outer)
    assert inner.units == ["base second", "base reply"]
    assert outer.units == ["base first", "base second"]  # what it had found missing, and nothing after that
    assert world.run() == Asked()
    for file in world.output.rglob("*.json"):
        json.loads(file.read_text())
    assert not list(world.output.rglob("*.part")) and not list(world.output.rglob("writing-*"))
