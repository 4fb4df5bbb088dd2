"""From an experiment to the plan of its steps."""

from collections.abc import Iterable
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.experiments.config import Experiment
from fin_plugins.experiments.planning.board import board
from fin_plugins.experiments.planning.identity import Tasks
from fin_plugins.experiments.planning.merge import merge, search
from fin_plugins.experiments.planning.scene import Made, Scene, scene
from fin_plugins.experiments.planning.score import Scored, scored, steps
from fin_plugins.experiments.planning.train import train
from fin_plugins.experiments.steps import Plan, Step


def make_plan(config: Experiment, name: str, work: Path) -> Plan:
    """Plan an experiment.

    What is done is looked up in the work folder, for models that are scored need not be scored again beside others.
    Nothing is written.

    Args:
        config: what the file says, its paths absolute.
        name: of the experiment.
        work: folder of all that is made.

    Raises:
        FinError: a model, task, recipe or row cannot be had.
        Problems: all that is wrong with a training file.
    """
    plan = Plan(name, work.absolute(), (), {}, {"FIN_DATA": config.rows.data})
    tasks = Tasks([*config.tasks.seen, *config.tasks.unseen], config.rows.data)
    for model in config.models:
        plan = _with_model(plan, scene(config, tasks, model))
    names = [step.name for step in plan.steps]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise FinError(f"{name}: two steps would be called {', '.join(twice)}: rename a training or merge")
    return plan


def _with_model(plan: Plan, scene: Scene) -> Plan:
    made, files = _made(scene)
    plan = _more(plan, [one.step for one in made], files)
    models = scored(scene, made)
    if not models:
        return plan
    unfinished = {path for step in plan.to_do() for path in step.markers}

    def is_done(one: Scored) -> bool:
        there = all((plan.work / path).exists() for path in (one.marker, one.written))
        return there and not unfinished & set(one.needs)

    scoring, files = steps(scene, models, is_done)
    return _more(plan, [*scoring, board(scene, models)], files)


def _made(scene: Scene) -> tuple[list[Made], dict[str, str]]:
    """All trainings, then all merges, each with every seed; and the files that their commands read."""
    config, model = scene.config, scene.model
    found: list[Made] = []
    files: dict[str, str] = {}
    for seed in config.seeds:
        trained = {one: train(scene, one, seed) for one in _chosen(model.train, config.training)}
        found += trained.values()
        for name in _chosen(model.merge, config.merges):
            said = config.merges[name]
            if missing := [expert for expert in said.experts if expert not in trained]:
                raise FinError(f"models.{scene.name}.train: lacks {', '.join(missing)}, which {name} merges")
            if said.search is None:
                found.append(merge(scene, name, seed, trained))
            else:
                searched, more = search(scene, name, seed, trained)
                found.append(searched)
                files |= more
    return sorted(found, key=lambda one: one.step.kind != "train"), files


def _chosen(listed: list[str] | None, known: Iterable[str]) -> list[str]:
    return list(known if listed is None else listed)


def _more(plan: Plan, steps: list[Step], files: dict[str, str]) -> Plan:
    return Plan(plan.name, plan.work, (*plan.steps, *steps), {**plan.files, **files}, plan.environment)
