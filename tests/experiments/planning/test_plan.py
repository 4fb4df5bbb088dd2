"""What a plan holds: every step once, in order, with the command that one would type."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.evaluation.command import read, split
from fin_plugins.experiments.steps import Plan, Step, read_plan
from fin_plugins.merging.search.config import SearchConfig
from tests.experiments.planning.worlds import World


def named(plan: Plan) -> dict[str, Step]:
    return {step.name: step for step in plan.steps}


def test_every_step_once_after_what_it_needs(world: World) -> None:
    plan = world.plan()
    assert [step.name for step in plan.steps] == [
        *("train-m-head", "train-m-let", "train-m-multi", "merge-m-both", "merge-m-dense"),
        *("score-m", "score-m-dense", "board-m"),
    ]
    made: set[str] = set()
    for step in plan.steps:
        assert set(step.needs) <= made
        made |= set(step.markers)
        assert all(step.key in path for path in (*step.markers, *step.outputs)) or step.kind == "score"
    assert set(plan.steps[-1].needs) == {path for step in plan.steps if step.kind == "score" for path in step.markers}
    assert sum(step.engines for step in plan.steps) == 2  # the base with its four adapters, and the checkpoint
    assert plan.environment == {"FIN_DATA": "real"}
    assert read_plan(plan.write()).steps == plan.steps


def test_a_training_is_as_the_experiment_has_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.said["training"]["multi"]["set"] |= {
        "epochs": 3,
        "allow_unseen": True,
        "tasks": [{"task": str(world.task("letters")), "cap": 7}],
    }
    world.said["models"] = {"m": {"model": str(world.model), "settings": {"max_length": 64}}}
    plan = world.plan(rows={"train": 11}, seeds=[5])
    monkeypatch.chdir(world.root)
    for step, caps, epochs in (("train-m-head", [11], 2), ("train-m-multi", [7], 3)):
        command = named(plan)[step].command
        shown = CliRunner().invoke(fin, [*command[1:], "--dry-run"])
        assert shown.exit_code == 0, shown.output
        config = yaml.safe_load(shown.stdout)
        assert [task["cap"] for task in config["tasks"]] == caps
        assert (config["epochs"], config["max_length"], config["seed"]) == (epochs, 64, 5)
        assert config["model"] == str(world.model)
        assert config["output"] == named(plan)[step].outputs[0].removesuffix("/adapter_config.json")
        assert named(plan)[step].rows == caps[0] * epochs


def test_validation_rows_are_counted_too(world: World) -> None:
    world.edit(world.root / "letters_training.yaml", "validation: off", "validation: {rows: 8}\nmax_steps: 2")
    # Two steps of eight, and eight rows before training and at four checkpoints.
    assert named(world.plan())["train-m-let"].rows == 2 * 8 + 8 * (1 + 2 * 2)


def test_merges_as_typed(world: World) -> None:
    steps = named(world.plan(seeds=[7]))
    head, let = (steps[f"train-m-{name}"].command[-1] for name in ("head", "let"))
    both = " ".join(steps["merge-m-both"].command)
    assert f"fin merge task_arithmetic --base {world.model} --expert head={head} --expert let={let}" in both
    assert "--weight head=0.75 --as-adapter --seed 7 --out merged/both-" in both
    dense = " ".join(steps["merge-m-dense"].command)
    assert "fin merge ties" in dense and "--set density=0.5 --seed 7" in dense and "--as-adapter" not in dense
    assert steps["merge-m-dense"].outputs[0].endswith("/config.json")


def test_all_of_one_base_are_scored_on_one_engine(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = world.plan(rows={"test": 12}, scoring={"model_args": {"dtype": "float32"}, "batch_size": 4})
    plan.write()
    monkeypatch.chdir(plan.work)
    whole = named(plan)["score-m"].command
    adapters = [word for flag, word in pairwise(whole) if flag == "--adapter"]
    assert [word.partition("=")[0] for word in adapters] == ["head", "let", "multi", "both"]
    of_adapters = {f"{word.partition('=')[0]}=" for word in adapters}  # these are not there to be read
    words = [word for word in whole[2:] if word != "--adapter" and word not in adapters]
    pairs = [(flag, word) for flag, word in pairwise(words) if flag == "--written"]
    assert len(pairs) == 5
    words = words[: words.index("--written")]
    words += [one for pair in pairs if not pair[1].startswith(tuple(of_adapters)) for one in pair]
    command = read(*split(words))
    assert command.settings.tasks == ["headlines", "letters", "headlines_gen", "letters_gen"]
    assert command.base_arguments == {"pretrained": str(world.model), "dtype": "float32"}
    assert (command.settings.limit, command.settings.num_fewshot, str(command.settings.batch_size)) == (12, 0, "4")
    assert command.settings.apply_chat_template is True
    folders = [str(world.task(name).parent) for name in ("headlines", "letters")]
    assert command.settings.include_path == [str(task_folder()), *folders]
    assert named(plan)["score-m"].rows == 12 * 4 * 5


def test_few_shot_runs_and_models_that_are_not_scored(world: World) -> None:
    steps = named(world.plan(fewshot=[0, 3], protocols=["likelihood"]))
    words = " ".join(steps["score-m-3shot"].command)
    assert "--num_fewshot 3" in words and "--adapter" not in words and "--tasks headlines,letters --output" in words
    assert steps["score-m-3shot"].markers[0] in steps["board-m"].needs
    silent = named(world.plan(models={"m": {"model": str(world.model), "score": False, "chat_template": False}}))
    words = " ".join(silent["score-m"].command)
    assert "--no-base" in words and "base=" not in words and "--apply_chat_template" not in words
    assert "--baseline" not in silent["board-m"].command and "--reference" not in silent["board-m"].command


def test_a_search_reads_its_file(world: World) -> None:
    wanted = {"candidates": 4, "rows": 10, "floor": {"leave_out": -0.1}, "unlabelled": {"rows": 6}}
    plan = world.plan(merges={"found": {"experts": ["head", "let"], "search": wanted}}, seeds=[9])
    step = named(plan)["search-m-found"]
    (file,) = plan.files.keys() & {*step.command}
    said = SearchConfig.model_validate(yaml.safe_load(plan.files[file]))
    assert said.experts["let"].tasks == [str(world.task("letters"))]
    assert said.experts["head"].path == named(plan)["train-m-head"].command[-1]
    assert (said.count, said.rows, said.otherwise, said.seed) == (4, 10, "nearest", 9)
    assert step.rows == 4 * (2 * (10 + 10) + 6)
    assert step.outputs == (f"merged/found-{step.key}/best/adapter_config.json",)
    assert f"--adapter found=merged/found-{step.key}/best" in " ".join(named(plan)["score-m"].command)


def test_several_models_and_seeds(world: World) -> None:
    other = world.root / "other"
    other.mkdir()
    for file in world.model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "config.json").write_text('{"model_type": "mistral"}')
    models = {"m": str(world.model), "o": {"model": str(other), "train": ["head"], "merge": []}}
    plan = world.plan(models=models, seeds=[1, 2])
    steps = named(plan)
    assert [name for name in steps if "-o" in name] == ["train-o-head-s1", "train-o-head-s2", "score-o", "board-o"]
    assert len({step.key for step in plan.steps}) == len(plan.steps)
    first, second = (" ".join(steps[f"merge-m-both-s{seed}"].command) for seed in (1, 2))
    assert "head=train/head-s1-" in first and "head=train/head-s2-" in second
    board = steps["board-m"].command
    assert board[board.index("--baseline") + 1] == "m" and board[board.index("--reference") + 1] == "multi-s1"
    assert "head-s2=head-s2" in board and f"{world.model}=m" in board
    assert "--reference" not in steps["board-o"].command


def test_a_board_names_what_its_tasks_do_not_say(world: World) -> None:
    assert "--unseen" not in named(world.plan())["board-m"].command or "letters" in world.task("letters").read_text()
    world.edit(world.task("letters"), "    seen: ", "    seen: true # ")
    board = named(world.plan())["board-m"].command
    assert board[board.index("--unseen") + 1] == "letters"
    world.edit(world.task("letters"), "    seen: true # ", "    seen: false # ")
    assert "--unseen" not in named(world.plan())["board-m"].command


def test_what_cannot_be_planned(world: World, tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"models.m.train: lacks let, which both merges"):
        world.plan(models={"m": {"model": str(world.model), "train": ["head", "multi"]}})
    with pytest.raises(FinError, match=r"gone.yaml: neither a task nor a group"):
        world.plan(tasks={"seen": [str(tmp_path / "headlines" / "gone.yaml")]})
    (world.task("letters").parent / "test.csv").unlink()
    with pytest.raises(FinError, match=r"letters.yaml: test.csv: no such file"):
        world.plan()
