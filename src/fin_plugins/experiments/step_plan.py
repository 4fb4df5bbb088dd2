"""The plan of an experiment: its steps, each one `fin` command with input and output files.

A step's key is a hash of everything that its result depends on, including the keys of earlier steps. The folders and
marker files of a step end in its key, so completion is determined by content and not by file times. The marker is
written last: a step without its marker is pending.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.experiments.experiment_config import Kind, Resources


@dataclass(frozen=True)
class Step:
    """One command of an experiment. All paths are relative to the work folder, in which the command runs.

    Attributes:
        name: for people and logs, unique in the plan, for example `train-smollm2-fomc` or `score-smollm2`.
        kind: kind of step.
        key: 12 hexadecimal digits, a hash of everything the result depends on.
        command: argument vector; a leading `fin` is replaced by the installed program.
        needs: markers that must exist before the step, in the order of their steps.
        markers: files that the runner writes when the command has succeeded; a score step has one per model, all others
            have one.
        outputs: files and folders that the command must make; the step fails if one is missing.
        resources: cores, memory, GPUs and time.
        rows: approximate number of rows that go through a model: train rows × epochs + validation rows × checkpoints,
            test rows × models, or validation rows and prompts × candidates of a search.
        bytes: approximate size of the output.
        engines: number of model engines started.
        parameters: number of parameters of the base model, for estimates; 0 if it is not on this machine.
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
        """File for the command's output."""
        return f"logs/{self.name}-{self.key}.log"


@dataclass(frozen=True)
class Plan:
    """All steps of an experiment, complete ones included, in an order in which they can run.

    Attributes:
        name: name of the experiment.
        work: work folder, absolute.
        steps: the steps.
        files: generated files that commands read (search files): text by path below the work folder. The paths contain
            a hash of the text.
        environment: environment variables of all commands, for example FIN_DATA.
    """

    name: str
    work: Path
    steps: tuple[Step, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def is_complete(self, step: Step) -> bool:
        """Whether all markers and outputs of the step exist."""
        return all((self.work / path).exists() for path in (*step.markers, *step.outputs))

    def pending(self) -> list[Step]:
        """The incomplete steps, and all steps that depend on one."""
        pending: list[Step] = []
        pending_markers: set[str] = set()
        for step in self.steps:
            if not self.is_complete(step) or pending_markers & set(step.needs):
                pending_markers |= set(step.markers)
                pending.append(step)
        return pending

    def write(self) -> Path:
        """Write the generated files and `plan.json`, which the Snakefile reads; returns the path of the latter."""
        for path, text in self.files.items():
            write_file(self.work / path, text)
        steps = [{**asdict(step), "resources": step.resources.model_dump(), "log": step.log} for step in self.steps]
        data = {"name": self.name, "environment": dict(self.environment), "steps": steps}
        file = self.work / "plan.json"
        write_file(file, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
        return file


def read_plan(file: Path) -> Plan:
    """Read the `plan.json` that `Plan.write` wrote; its folder is the work folder."""
    data = json.loads(file.read_text(encoding="utf-8"))
    steps = tuple(map(_parse_step, data["steps"]))
    return Plan(data["name"], file.resolve().parent, steps, environment=data["environment"])


def _parse_step(data: dict[str, Any]) -> Step:
    fields: dict[str, Any] = {name: value for name, value in data.items() if name != "log"}
    fields |= {name: tuple(fields[name]) for name in ("command", "needs", "markers", "outputs")}
    return Step(**{**fields, "resources": Resources(**fields["resources"])})


def marker(name: str, key: str) -> str:
    """Path of a marker file, relative to the work folder."""
    return f"done/{name}-{key}.json"


def of_kind(steps: Iterable[Step], kind: Kind) -> list[Step]:
    """The steps of one kind."""
    return [step for step in steps if step.kind == kind]
