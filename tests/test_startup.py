import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fin_plugins import startup
from fin_plugins.locations import task_folder

SHIPPED = Path("/env/lm_eval/tasks")
OURS = Path("/env/fin_plugins/lm_eval_tasks")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([SHIPPED], [SHIPPED, OURS]),
        ([SHIPPED, Path("/mine")], [SHIPPED, OURS, Path("/mine")]),  # the user's folder stays last and wins
        ([Path("/mine")], [Path("/mine")]),  # include_defaults=False: the user asked for nothing else
        ([SHIPPED, OURS], [SHIPPED, OURS]),  # upstream's entry point, or --include_path
        ([SHIPPED, OURS.parent], [SHIPPED, OURS.parent]),
    ],
)
def test_our_folder_comes_right_behind_the_shipped_one(paths: list[Path], expected: list[Path]) -> None:
    assert startup._with_folder(paths, OURS, SHIPPED) == expected


def test_build_is_wrapped_once_and_never_raises() -> None:
    seen: list[list[Path]] = []
    module = ModuleType("lm_eval.tasks._index")
    module.__file__ = str(SHIPPED / "_index.py")

    class TaskIndex:
        @staticmethod
        def build(paths: list[Path]) -> None:
            seen.append(list(paths))

    module.TaskIndex = TaskIndex  # type: ignore[attr-defined]
    startup._scan_our_folder_too(module)
    wrapped = module.TaskIndex.build
    startup._scan_our_folder_too(module)
    assert module.TaskIndex.build is wrapped
    TaskIndex().build([SHIPPED])
    assert seen == [[SHIPPED, task_folder()]]


@pytest.mark.parametrize("value", ["0", "off", "No", " false "])
def test_switch(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(startup.SWITCH, value)
    assert startup.switched_off()


NAMES = "from lm_eval.tasks import TaskManager as T; names = T().all_tasks; "


def run(code: str, *flags: str, **env: str) -> str:
    command = [sys.executable, *flags, "-c", code]
    return subprocess.check_output(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL, text=True, cwd="/")


def test_lm_eval_finds_every_task_file_without_include_path() -> None:
    found = run(NAMES + "print(*[n for n in names if n.startswith('fin_') or n == 'fin'])", "-I").split()
    files = {file.stem.removeprefix("_group_") for file in task_folder().rglob("*.yaml")}
    assert set(found) == files | {"fin"}


def test_switched_off_lm_eval_is_as_without_the_package() -> None:
    code = NAMES + "import sys; print([n for n in names if n.startswith('fin_') or n == 'fin'], 'numpy' in sys.modules)"
    assert run(code, FIN_PLUGINS_AUTOLOAD="0").startswith("[]")


def test_interpreter_start_imports_nothing_heavy() -> None:
    code = "import sys; print([m for m in ('lm_eval', 'numpy', 'pandas', 'click') if m in sys.modules])"
    assert run(code) == "[]\n"


MODELS = "import lm_eval.models; from lm_eval.api.registry import model_registry as r; import sys; "


def test_lm_eval_knows_our_model_classes_and_imports_none_of_them() -> None:
    code = MODELS + "print([n in r for n in ('fin_vllm', 'fin_hf')], 'torch' in sys.modules, 'vllm' in sys.modules)"
    assert run(code, "-I") == "[True, True] False False\n"
    assert run(code, FIN_PLUGINS_AUTOLOAD="0") == "[False, False] False False\n"


def test_the_declared_entry_points_are_the_names_of_the_start_up_file() -> None:
    import tomllib

    from tests.conftest import ROOT

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["lm_eval.models"] == startup.MODELS
