"""Plans: every step once, in order, with its command; a change makes only the steps that depend on it pending."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.evaluation.eval_command import parse_command, split_flags
from fin_plugins.experiments.step_plan import Plan, Step, read_plan
from fin_plugins.merging.search.search_config import SearchConfig
from tests.experiments.experiment_factories import ExperimentFolder


def by_name(plan: Plan) -> dict[str, Step]:
    return {step.name: step for step in plan.steps}


def test_every_step_once_after_what_it_needs(folder: ExperimentFolder) -> None:
    plan = folder.plan()
    assert [step.name for step in plan.steps] == [
        *("train-m-head", "train-m-let", "train-m-multi", "merge-m-both", "merge-m-dense"),
        *("score-m", "score-m-dense", "board-m"),
    ]
    available: set[str] = set()
    for step in plan.steps:
        assert set(step.needs) <= available
        available |= set(step.markers)
        assert all(step.key in path for path in (*step.markers, *step.outputs)) or step.kind == "score"
    assert set(plan.steps[-1].needs) == {path for step in plan.steps if step.kind == "score" for path in step.markers}
    assert sum(step.engines for step in plan.steps) == 2  # the base with its four adapters, and the checkpoint
    assert plan.environment == {"FIN_DATA": "real"}
    assert read_plan(plan.write()).steps == plan.steps


def test_a_training_gets_the_experiments_changes(folder: ExperimentFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.data["training"]["multi"]["set"] |= {
        "epochs": 3,
        "allow_unseen": True,
        "tasks": [{"task": str(folder.task("letters")), "cap": 7}],
    }
    folder.data["models"] = {"m": {"model": str(folder.model), "settings": {"max_length": 64}}}
    plan = folder.plan(rows={"train": 11}, seeds=[5])
    monkeypatch.chdir(folder.root)
    for step, caps, epochs in (("train-m-head", [11], 2), ("train-m-multi", [7], 3)):
        command = by_name(plan)[step].command
        result = CliRunner().invoke(fin, [*command[1:], "--dry-run"])
        assert result.exit_code == 0, result.output
        config = yaml.safe_load(result.stdout)
        assert [task["cap"] for task in config["tasks"]] == caps
        assert (config["epochs"], config["max_length"], config["seed"]) == (epochs, 64, 5)
        assert config["model"] == str(folder.model)
        assert config["output"] == by_name(plan)[step].outputs[0].removesuffix("/adapter_config.json")
        assert by_name(plan)[step].rows == caps[0] * epochs


def test_validation_rows_are_counted_too(folder: ExperimentFolder) -> None:
    folder.edit(folder.root / "letters_training.yaml", "validation: off", "validation: {rows: 8}\nmax_steps: 2")
    # Two steps of eight, and eight rows before training and at four checkpoints.
    assert by_name(folder.plan())["train-m-let"].rows == 2 * 8 + 8 * (1 + 2 * 2)


def test_commands_of_merges(folder: ExperimentFolder) -> None:
    steps = by_name(folder.plan(seeds=[7]))
    head, let = (steps[f"train-m-{name}"].command[-1] for name in ("head", "let"))
    both = " ".join(steps["merge-m-both"].command)
    assert f"fin merge task_arithmetic --base {folder.model} --expert head={head} --expert let={let}" in both
    assert "--weight head=0.75 --as-adapter --seed 7 --out merged/both-" in both
    dense = " ".join(steps["merge-m-dense"].command)
    assert "fin merge ties" in dense and "--set density=0.5 --seed 7" in dense and "--as-adapter" not in dense
    assert steps["merge-m-dense"].outputs[0].endswith("/config.json")


def test_all_of_one_base_are_scored_on_one_engine(folder: ExperimentFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = folder.plan(rows={"test": 12}, scoring={"model_args": {"dtype": "float32"}, "batch_size": 4})
    plan.write()
    monkeypatch.chdir(plan.work)
    command_words = by_name(plan)["score-m"].command
    adapters = [word for flag, word in pairwise(command_words) if flag == "--adapter"]
    assert [word.partition("=")[0] for word in adapters] == ["head", "let", "multi", "both"]
    of_adapters = {f"{word.partition('=')[0]}=" for word in adapters}  # these are not there to be read
    words = [word for word in command_words[2:] if word != "--adapter" and word not in adapters]
    pairs = [(flag, word) for flag, word in pairwise(words) if flag == "--written"]
    assert len(pairs) == 5
    words = words[: words.index("--written")]
    words += [word for pair in pairs if not pair[1].startswith(tuple(of_adapters)) for word in pair]
    command = parse_command(*split_flags(words))
    assert command.settings.tasks == ["headlines", "letters", "headlines_gen", "letters_gen"]
    assert command.base_arguments == {"pretrained": str(folder.model), "dtype": "float32"}
    assert (command.settings.limit, command.settings.num_fewshot, str(command.settings.batch_size)) == (12, 0, "4")
    assert command.settings.apply_chat_template is True
    folders = [str(folder.task(name).parent) for name in ("headlines", "letters")]
    assert command.settings.include_path == [str(task_folder()), *folders]
    assert by_name(plan)["score-m"].rows == 12 * 4 * 5


def test_few_shot_runs_and_models_that_are_not_scored(folder: ExperimentFolder) -> None:
    steps = by_name(folder.plan(fewshot=[0, 3], protocols=["likelihood"]))
    words = " ".join(steps["score-m-3shot"].command)
    assert "--num_fewshot 3" in words and "--adapter" not in words and "--tasks headlines,letters --output" in words
    assert steps["score-m-3shot"].markers[0] in steps["board-m"].needs
    unscored = by_name(folder.plan(models={"m": {"model": str(folder.model), "score": False, "chat_template": False}}))
    words = " ".join(unscored["score-m"].command)
    assert "--no-base" in words and "base=" not in words and "--apply_chat_template" not in words
    assert "--baseline" not in unscored["board-m"].command and "--reference" not in unscored["board-m"].command


def test_a_search_reads_its_file(folder: ExperimentFolder) -> None:
    search = {"candidates": 4, "rows": 10, "floor": {"leave_out": -0.1}, "unlabelled": {"rows": 6}}
    plan = folder.plan(merges={"found": {"experts": ["head", "let"], "search": search}}, seeds=[9])
    step = by_name(plan)["search-m-found"]
    (file,) = plan.files.keys() & {*step.command}
    config = SearchConfig.model_validate(yaml.safe_load(plan.files[file]))
    assert config.experts["let"].tasks == [str(folder.task("letters"))]
    assert config.experts["head"].path == by_name(plan)["train-m-head"].command[-1]
    assert (config.count, config.rows, config.otherwise, config.seed) == (4, 10, "nearest", 9)
    assert step.rows == 4 * (2 * (10 + 10) + 6)
    assert step.outputs == (f"merged/found-{step.key}/best/adapter_config.json",)
    assert f"--adapter found=merged/found-{step.key}/best" in " ".join(by_name(plan)["score-m"].command)


def test_several_models_and_seeds(folder: ExperimentFolder) -> None:
    other = folder.root / "other"
    other.mkdir()
    for file in folder.model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "config.json").write_text('{"model_type": "mistral"}')
    models = {"m": str(folder.model), "o": {"model": str(other), "train": ["head"], "merge": []}}
    plan = folder.plan(models=models, seeds=[1, 2])
    steps = by_name(plan)
    assert [name for name in steps if "-o" in name] == ["train-o-head-s1", "train-o-head-s2", "score-o", "board-o"]
    assert len({step.key for step in plan.steps}) == len(plan.steps)
    first, second = (" ".join(steps[f"merge-m-both-s{seed}"].command) for seed in (1, 2))
    assert "head=train/head-s1-" in first and "head=train/head-s2-" in second
    board = steps["board-m"].command
    assert board[board.index("--baseline") + 1] == "m" and board[board.index("--reference") + 1] == "multi-s1"
    assert "head-s2=head-s2" in board and f"{folder.model}=m" in board
    assert "--reference" not in steps["board-o"].command


def test_a_board_lists_the_unseen_tasks_that_are_not_marked(folder: ExperimentFolder) -> None:
    assert (
        "--unseen" not in by_name(folder.plan())["board-m"].command or "letters" in folder.task("letters").read_text()
    )
    folder.edit(folder.task("letters"), "    seen: ", "    seen: true # ")
    board = by_name(folder.plan())["board-m"].command
    assert board[board.index("--unseen") + 1] == "letters"
    folder.edit(folder.task("letters"), "    seen: true # ", "    seen: false # ")
    assert "--unseen" not in by_name(folder.plan())["board-m"].command


def test_what_cannot_be_planned_is_an_error(folder: ExperimentFolder, tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"models.m.train: lacks let, which both merges"):
        folder.plan(models={"m": {"model": str(folder.model), "train": ["head", "multi"]}})
    with pytest.raises(FinError, match=r"gone.yaml: neither a task nor a group"):
        folder.plan(tasks={"seen": [str(tmp_path / "headlines" / "gone.yaml")]})
    (folder.task("letters").parent / "test.csv").unlink()
    with pytest.raises(FinError, match=r"letters.yaml: test.csv: no such file"):
        folder.plan()


@pytest.fixture
def finished(folder: ExperimentFolder) -> ExperimentFolder:
    folder.finish(folder.plan().steps)
    return folder


def pending_names(plan: Plan) -> list[str]:
    return [step.name for step in plan.pending()]


def adapters(plan: Plan, name: str = "score-m") -> list[str]:
    (command,) = [step.command for step in plan.steps if step.name == name]
    return [word.partition("=")[0] for flag, word in pairwise(command) if flag == "--adapter"]


def test_all_is_complete(finished: ExperimentFolder) -> None:
    assert not pending_names(finished.plan())
    assert adapters(finished.plan()) == ["head", "let", "multi", "both"]


def test_one_more_training_is_scored_alone(finished: ExperimentFolder) -> None:
    finished.data["training"]["more"] = {**finished.data["training"]["multi"], "file": "single_fomc"}
    plan = finished.plan()
    assert pending_names(plan) == ["train-m-more", "score-m", "board-m"]
    assert adapters(plan) == ["more"] and adapters(plan, "score-m-before") == ["head", "let", "multi", "both"]
    (pending,) = [step for step in plan.steps if step.name == "score-m"]
    assert "--no-base" in pending.command and len(pending.markers) == 1


def test_a_changed_training_reaches_its_merges_and_no_other_model(finished: ExperimentFolder) -> None:
    (finished.root / "letters_training.yaml").open("a").write("learning_rate: 3e-4\n")
    plan = finished.plan()
    expected = ["train-m-let", "merge-m-both", "merge-m-dense", "score-m", "score-m-dense", "board-m"]
    assert pending_names(plan) == expected and adapters(plan) == ["let", "both"]


def test_undoing_a_change_finds_the_earlier_results(finished: ExperimentFolder) -> None:
    finished.edit(finished.root / "letters_training.yaml", "model: demo", "model: demo\nepochs: 1")
    finished.finish(finished.plan().steps)
    finished.edit(finished.root / "letters_training.yaml", "model: demo\nepochs: 1", "model: demo")
    assert not pending_names(finished.plan())


@pytest.mark.parametrize(
    ("lost", "pending"),
    [
        ("written/m-multi-*", ["score-m", "board-m"]),
        ("done/score-m-multi-*", ["score-m", "board-m"]),
        ("train/multi-*/train.json", ["train-m-multi", "score-m", "board-m"]),
        ("merged/dense-*/merge.json", ["merge-m-dense", "score-m-dense", "board-m"]),
        ("board/*/index.html", ["board-m"]),
    ],
)
def test_a_lost_file_is_made_again(lost: str, pending: list[str], finished: ExperimentFolder) -> None:
    (file,) = finished.work.glob(lost)
    file.unlink()
    plan = finished.plan()
    assert pending_names(plan) == pending
    if "score-m" in pending:
        assert adapters(plan) == ["multi"]


def test_an_interrupted_run_resumes_with_the_same_steps(folder: ExperimentFolder) -> None:
    plan = folder.plan()
    folder.finish(tuple(step for step in plan.steps if step.kind == "train"))
    again = folder.plan()
    assert [step.key for step in again.steps] == [step.key for step in plan.steps]
    assert pending_names(again) == ["merge-m-both", "merge-m-dense", "score-m", "score-m-dense", "board-m"]


def test_planning_writes_nothing(folder: ExperimentFolder, tmp_path: Path) -> None:
    folder.plan()
    assert not folder.work.exists()
