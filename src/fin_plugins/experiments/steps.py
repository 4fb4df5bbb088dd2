"""A plan: the steps of an experiment, each one of our own commands with files in and out.

Everything a step makes lies in a folder, or has a marker, whose name ends in the step's key: a hash over all that its
result depends on, the keys of the steps before it included. So what is done is found by content, whatever the clock
says, and a step is not done as long as its marker is not there, which is written last.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.experiments.config import Kind, Resources


@dataclass(frozen=True)
class Step:
    """One command of an experiment. All paths are relative to the work folder, where the command is run.

    Attributes:
        name: for people and logs, unique in a plan, as `train-smollm2-fomc` or `score-smollm2`.
        kind: what it does.
        key: 12 hexadecimal digits over all it depends on.
        command: argument vector, `fin` first; the runner puts the installed program in its place.
        needs: markers that must be there before, in the order of the steps they belong to.
        markers: files that say it is done, written by the runner when the command has succeeded; a score step has one
            for each model that it scores, all others have one.
        outputs: folders or files that the command must have made; without all of them it counts as failed.
        resources: what it takes.
        rows: rows that go through a model, roughly: train rows times epochs and validation rows times checkpoints, test
            rows times models, or a search's validation rows and prompts times candidates.
        bytes: what it writes, roughly.
        engines: model engines it starts.
        parameters: size of the base model, for estimates; 0 where it is not on this machine.
    """

    name: str
    kind: Kind
    key: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    markers: tuple[str, ...]
    outputs: tuple[str, ...]
    resources: Resources = field(default_factory=Resources)
    rows: int = 0
    bytes: int = 0
    engines: int = 0
    parameters: int = 0

    @property
    def log(self) -> str:
        """File for all that the command prints."""
        return f"logs/{self.name}-{self.key}.log"


@dataclass(frozen=True)
class Plan:
    """All steps of an experiment in an order in which they can run, those that are done included.

    Attributes:
        name: of the experiment.
        work: its folder, absolute.
        steps: the steps.
        files: generated files that commands read (search files), text by path below the work folder; their names hold
            the key of what they say.
        environment: variables that the commands see, beside those of the program that runs them, as FIN_DATA.
    """

    name: str
    work: Path
    steps: tuple[Step, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def done(self, step: Step) -> bool:
        """Whether all its markers and outputs are there."""
        return all((self.work / path).exists() for path in (*step.markers, *step.outputs))

    def to_do(self) -> list[Step]:
        """The steps that are not done, and those that stand on one of them."""
        open_markers: set[str] = set()
        found = []
        for step in self.steps:
            if not self.done(step) or open_markers & set(step.needs):
                open_markers |= set(step.markers)
                found.append(step)
        return found

    def write(self) -> Path:
        """Write the generated files and `plan.json`, which the Snakefile reads; returns the latter."""
        for path, text in self.files.items():
            write_file(self.work / path, text)
        steps = [{**asdict(step), "resources": step.resources.model_dump(), "log": step.log} for step in self.steps]
        file = self.work / "plan.json"
        whole = {"name": self.name, "environment": dict(self.environment), "steps": steps}
        write_file(file, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        return file


def read_plan(file: Path) -> Plan:
    """The plan that `Plan.write` wrote; the work folder is the file's."""
    data = json.loads(file.read_text(encoding="utf-8"))
    steps = tuple(_step(one) for one in data["steps"])
    return Plan(data["name"], file.resolve().parent, steps, environment=data["environment"])


def _step(data: dict[str, Any]) -> Step:
    plain = ("name", "kind", "key", "rows", "bytes", "engines", "parameters")
    fields: dict[str, Any] = {name: data[name] for name in plain}
    fields |= {name: tuple(data[name]) for name in ("command", "needs", "markers", "outputs")}
    return Step(**fields, resources=Resources(**data["resources"]))


def marker(name: str, key: str) -> str:
    """Path of a marker below the work folder."""
    return f"done/{name}-{key}.json"


def of_kind(steps: Iterable[Step], kind: Kind) -> list[Step]:
    """The steps of one kind."""
    return [step for step in steps if step.kind == kind]
