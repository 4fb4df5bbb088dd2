"""Reading training files: all problems in one go, each at its line or at the `--set` that brought it in."""

import subprocess
import sys
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.training.files.read import read_config
from tests.training.files import reading
from tests.training.files.reading import problems

file = reading.file


def test_a_good_file(file: Path) -> None:
    read = read_config(str(file))
    assert (read.name, read.source, read.config.lora.r) == ("my.run", file, 4)
    assert read.resolved["lora"] == {"r": 4, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}
    assert read.resolved["tasks"][1] == {"task": "fin_fpb", "cap": 9, "weight": None, "repeat": 1}


BAD = """\
modle: demo
tasks:
  - fin_fomcc
  - {task: fin_fpb, cap: 0}
  - tasks/gone.yaml
  - {task: fin_fpb, weight: 1}
  - fin_fiqa
lora:
  rr: 16
  r: 8
  r: 9
method: !!python/name:os.system x
replay: {source: self, instructions: gone.jsonl}
output: my.run.yaml/x
loss: all
batching: shared_prefix
"""


def test_all_problems_at_once_with_their_places(file: Path) -> None:
    found = problems(file, BAD, "lora.alhpa=3", "seed=x", "dtype")
    starts = [
        "--set dtype: should be KEY=VALUE",
        "--set lora.alhpa=3: no such key (did you mean alpha?)",
        "--set seed=x: should be a valid integer",
        "my.run.yaml:1:1 model: is missing: Base model",
        "my.run.yaml:1:1 modle: no such key (did you mean model?)",
        "my.run.yaml:2:1 tasks: give every task a weight, or none",
        "my.run.yaml:3:5 tasks.0: fin_fomcc: no such task (did you mean fin_fomc?)",
        "my.run.yaml:4:21 tasks.1.cap: should be greater than 0",
        "my.run.yaml:5:5 tasks.2: tasks/gone.yaml: no such task file",
        "my.run.yaml:6:6 tasks.3.task: given twice: `repeat` takes its rows more than once",
        "my.run.yaml:9:3 lora.rr: no such key (did you mean r?)",
        "my.run.yaml:11:3 lora.r: given twice; the first time in line 10",
        "my.run.yaml:12:9 method: the tag !!python/name:os.system is not allowed here",
        "my.run.yaml:13:24 replay.instructions: gone.jsonl: no such file",
        "my.run.yaml:14:1 output: my.run.yaml is a file: name a folder",
        "my.run.yaml:16:1 batching: shared_prefix computes",
    ]
    assert len(found) == len(starts), "\n".join(found)
    for line, start in zip(found, starts, strict=True):
        assert line.startswith(start)


def test_the_message_has_a_line_for_each(file: Path) -> None:
    file.write_text("model: demo\ntasks: [fin_fomc]\nsede: 1\nlorra: 2\n")
    with pytest.raises(FinError) as error:
        read_config(str(file))
    assert str(error.value).splitlines() == [
        "2 problems",
        "my.run.yaml:3:1 sede: no such key (did you mean seed?)",
        "my.run.yaml:4:1 lorra: no such key (did you mean lora?)",
    ]


def test_nothing_heavy_is_imported_to_say_so(file: Path) -> None:
    file.write_text(BAD)
    code = (
        f"import sys\nfrom fin_plugins.training.files.read import read_config\ntry: read_config({str(file)!r})\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print([m for m in ('numpy', 'pandas', 'lm_eval', 'torch', 'transformers', 'trl', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["Problems", "[]"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("replay", "gone.jsonl", "gone.jsonl: no such file"),
        ("replay", "a/b/c", "a/b/c: no such file"),
        ("replay", "Slef", "Slef: no such file (did you mean self?)"),
        ("replay", "rows.csv", "rows.csv: should end in .json or .jsonl"),
        ("replay", "rows.jsonl", None),
        ("replay", "Open-Orca/OpenOrca", None),
        ("model", "rows.csv", "rows.csv: a file; a model is a folder or a hub name"),
        ("model", "~/models/x", "~/models/x: no such folder"),
        ("model", "folder", None),
        ("model", "owner/name", None),
        ("tasks", "[./own.yaml]", None),
        ("tasks", "[./gone.yml]", "./gone.yml: no such task file"),
        ("tasks", "[fin_seen]", None),
        ("tasks", "[fin_sen]", "fin_sen: no such task (did you mean fin_seen?)"),
        ("tasks", "[fin_]", "fin_: no such task"),
        ("output", "folder/new", None),
        ("output", "rows.csv", "rows.csv is a file: name a folder"),
        ("output", "x" * 5000, None),
    ],
)
def test_what_is_named_must_be_there(file: Path, key: str, value: str, message: str | None) -> None:
    for name in ("rows.csv", "rows.jsonl", "own.yaml"):
        Path(name).touch()
    Path("folder").mkdir()
    text = "".join(f"{k}: {v}\n" for k, v in {"model": "demo", "tasks": "[fin_fomc]", key: value}.items())
    if message is None:
        file.write_text(text)
        assert read_config(str(file)).name == "my.run"
    else:
        (found,) = problems(file, text)
        assert f": {message}" in found


def test_foreign_tasks_are_lm_evals(file: Path) -> None:
    file.write_text("model: demo\ntasks: [sst2]\n")
    assert read_config(str(file)).config.tasks[0].task == "sst2"
    (found,) = problems(file, "model: demo\ntasks: [sst22]\n")
    assert found == "my.run.yaml:2:9 tasks.0: sst22: no such task (did you mean sst2?)"


def test_no_such_file(file: Path) -> None:
    for name in ("single_fomcc", "training/single_fomcc.yaml"):
        with pytest.raises(
            FinError, match=r"no such file .*\(did you mean single_fomc\?\); shipped are cocktail, demo"
        ):
            read_config(name)
    with pytest.raises(FinError, match="is a folder, not a file"):
        read_config(".")
