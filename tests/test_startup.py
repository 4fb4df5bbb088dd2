import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fin_plugins import startup
from fin_plugins.common.locations import task_folder

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


PACKAGES = {
    "no package": None,
    "an empty start-up module": "",
    "a broken start-up module": "def install(:\n",
    "a missing dependency": "import no_such_module_at_all\ndef install(): ...\n",
    "an error inside": "def install(): raise RuntimeError('inside')\n",
    "an exit": "def install(): raise SystemExit(3)\n",
}


def start(folder: Path, source: str | None) -> subprocess.CompletedProcess[str]:
    """Start Python with our `.pth` line, and with this text as the start-up module."""
    from tests.conftest import ROOT

    (folder / "fin_plugins.pth").write_bytes((ROOT / "startup" / "fin_plugins.pth").read_bytes())
    if source is not None:
        (folder / "fin_plugins").mkdir()
        (folder / "fin_plugins" / "__init__.py").touch()
        (folder / "fin_plugins" / "startup.py").write_text(source, encoding="utf-8")
    code = f"import sys, site; sys.path.insert(0, {str(folder)!r}); site.addsitedir({str(folder)!r}); print('on')"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", PACKAGES)
def test_the_start_up_line_prints_nothing_whatever_it_meets(what: str, tmp_path: Path) -> None:
    done = start(tmp_path, PACKAGES[what])
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def test_ctrl_c_during_the_start_up_line_ends_python(tmp_path: Path) -> None:
    done = start(tmp_path, "def install(): raise KeyboardInterrupt\n")
    assert done.returncode != 0 and done.stdout == ""


def test_the_start_up_line_is_one_that_python_runs() -> None:
    from tests.conftest import ROOT

    (line,) = (ROOT / "startup" / "fin_plugins.pth").read_text(encoding="utf-8").splitlines()
    assert line.startswith("import ")
    code = f"import sys; {line}; print('fin_plugins.startup' in {{type(one).__module__ for one in sys.meta_path}})"
    assert run(code, "-S", PYTHONPATH=str(ROOT / "src")).strip() == "True"


def test_a_finder_that_goes_in_front_later_does_not_take_the_tasks_away() -> None:
    from tests.conftest import ROOT

    code = "import fin_plugins.startup as s; s.install(); import sys, importlib.machinery as m\n"
    code += "class Front:\n  def find_spec(n, p=None, t=None):\n"
    code += "    return m.PathFinder.find_spec(n, p, t) if n.startswith('lm_eval') else None\n"
    code += "sys.meta_path.insert(0, Front)\nimport lm_eval.tasks._index as i\n"
    code += "print(hasattr(i.TaskIndex.build, '_fin_plugins'))"
    assert run(code, PYTHONPATH=str(ROOT / "src")) == "True\n"
