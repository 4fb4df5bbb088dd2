"""The start-up hook that makes plain `lm_eval` find the tasks and model classes."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fin_plugins.common.locations import task_folder
from fin_plugins.lm_eval_hook import MODELS, SWITCH, insert_folder, switched_off, wrap_task_index
from tests.conftest import ROOT

LM_EVAL = Path("/env/lm_eval/tasks")
OURS = Path("/env/fin_plugins/lm_eval_tasks")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([LM_EVAL], [LM_EVAL, OURS]),
        ([LM_EVAL, Path("/mine")], [LM_EVAL, OURS, Path("/mine")]),  # the user's folder stays last and wins
        ([Path("/mine")], [Path("/mine")]),  # include_defaults=False: the user asked for nothing else
        ([LM_EVAL, OURS], [LM_EVAL, OURS]),  # upstream's entry point, or --include_path
        ([LM_EVAL, OURS.parent], [LM_EVAL, OURS.parent]),
    ],
)
def test_our_folder_follows_lm_evals_own(paths: list[Path], expected: list[Path]) -> None:
    assert insert_folder(paths, OURS, LM_EVAL) == expected


def test_build_is_wrapped_once_and_never_raises() -> None:
    seen: list[list[Path]] = []
    module = ModuleType("lm_eval.tasks._index")
    module.__file__ = str(LM_EVAL / "_index.py")

    class TaskIndex:
        @staticmethod
        def build(paths: list[Path]) -> None:
            seen.append(list(paths))

    module.TaskIndex = TaskIndex  # type: ignore[attr-defined]
    wrap_task_index(module)
    wrapped = module.TaskIndex.build
    wrap_task_index(module)
    assert module.TaskIndex.build is wrapped
    TaskIndex().build([LM_EVAL])
    assert seen == [[LM_EVAL, task_folder()]]


@pytest.mark.parametrize("value", ["0", "off", "No", " false "])
def test_switch(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, value)
    assert switched_off()


IMPORT_NAMES = "from lm_eval.tasks import TaskManager as T; names = T().all_tasks; "


def run(code: str, *flags: str, **env: str) -> str:
    command = [sys.executable, *flags, "-c", code]
    return subprocess.check_output(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL, text=True, cwd="/")


def test_lm_eval_finds_every_task_file_without_include_path() -> None:
    names = run(IMPORT_NAMES + "print(*[n for n in names if n.startswith('fin_') or n == 'fin'])", "-I").split()
    files = {file.stem.removeprefix("_group_") for file in task_folder().rglob("*.yaml")}
    assert set(names) == files | {"fin"}


@pytest.mark.prove
def test_switched_off_lm_eval_is_as_without_the_package() -> None:
    code = (
        IMPORT_NAMES
        + "import sys; print([n for n in names if n.startswith('fin_') or n == 'fin'], 'numpy' in sys.modules)"
    )
    assert run(code, FIN_PLUGINS_AUTOLOAD="0").startswith("[]")


def test_interpreter_start_imports_nothing_heavy() -> None:
    code = "import sys; print([m for m in ('lm_eval', 'numpy', 'pandas', 'click') if m in sys.modules])"
    assert run(code) == "[]\n"


IMPORT_MODELS = "import lm_eval.models; from lm_eval.api.registry import model_registry as r; import sys; "


def test_lm_eval_knows_our_model_classes_and_imports_none_of_them() -> None:
    code = (
        IMPORT_MODELS + "print([n in r for n in ('fin_vllm', 'fin_hf')], 'torch' in sys.modules, 'vllm' in sys.modules)"
    )
    assert run(code, "-I") == "[True, True] False False\n"
    assert run(code, FIN_PLUGINS_AUTOLOAD="0") == "[False, False] False False\n"


def test_the_declared_entry_points_match_the_hook() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["lm_eval.models"] == MODELS


PACKAGES = {
    "no package": None,
    "an empty module": "",
    "a syntax error": "def install(:\n",
    "a missing dependency": "import no_such_module_at_all\ndef install(): ...\n",
    "an error inside": "def install(): raise RuntimeError('inside')\n",
    "an exit": "def install(): raise SystemExit(3)\n",
}


def start(folder: Path, source: str | None) -> subprocess.CompletedProcess[str]:
    """Start Python with our `.pth` line, and with this text as the start-up module."""
    (folder / "fin_plugins.pth").write_bytes((ROOT / "startup" / "fin_plugins.pth").read_bytes())
    if source is not None:
        (folder / "fin_plugins").mkdir()
        (folder / "fin_plugins" / "__init__.py").touch()
        (folder / "fin_plugins" / "lm_eval_hook.py").write_text(source, encoding="utf-8")
    code = f"import sys, site; sys.path.insert(0, {str(folder)!r}); site.addsitedir({str(folder)!r}); print('on')"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_start_up_line_prints_nothing_whatever_fails(package: str, tmp_path: Path) -> None:
    result = start(tmp_path, PACKAGES[package])
    assert (result.returncode, result.stdout, result.stderr) == (0, "on\n", "")


def test_ctrl_c_during_the_start_up_line_ends_python(tmp_path: Path) -> None:
    result = start(tmp_path, "def install(): raise KeyboardInterrupt\n")
    assert result.returncode != 0 and result.stdout == ""


def test_the_start_up_line_is_one_that_python_runs() -> None:
    (line,) = (ROOT / "startup" / "fin_plugins.pth").read_text(encoding="utf-8").splitlines()
    assert line.startswith("import ")
    code = f"import sys; {line}; print({{type(finder).__module__ for finder in sys.meta_path}})"
    assert "'fin_plugins.lm_eval_hook'" in run(code, "-S", PYTHONPATH=str(ROOT / "src"))


def test_a_finder_put_in_front_later_does_not_hide_the_tasks() -> None:
    code = "import fin_plugins.lm_eval_hook as s; s.install(); import sys, importlib.machinery as m\n"
    code += "class Front:\n  def find_spec(n, p=None, t=None):\n"
    code += "    return m.PathFinder.find_spec(n, p, t) if n.startswith('lm_eval') else None\n"
    code += "sys.meta_path.insert(0, Front)\nimport lm_eval.tasks._index as i\n"
    code += "print(hasattr(i.TaskIndex.build, '_fin_plugins'))"
    assert run(code, PYTHONPATH=str(ROOT / "src")) == "True\n"
