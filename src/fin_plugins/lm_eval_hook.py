"""Makes plain `lm_eval` find the tasks and model classes of this package.

lm-eval 0.4.13 offers installed packages no way to add tasks or models (its pull requests 4013 and 4015 will). So the
wheel installs `fin_plugins.pth`, which calls `install()` at interpreter start. That puts a finder on `sys.meta_path`,
which waits for two modules of lm-eval and then removes itself: in `lm_eval.tasks._index` it wraps `TaskIndex.build` so
that our folder is scanned after lm-eval's own (a user's `--include_path` stays last and wins), and after the import of
`lm_eval.models` it registers our model classes. `FIN_PLUGINS_AUTOLOAD=0` turns it off.

Standard library only, and nothing here may raise: this runs in every Python process of the environment. The line in
`fin_plugins.pth` swallows errors; `fin doctor` reports that the tasks are not found, and why.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

SWITCH = "FIN_PLUGINS_AUTOLOAD"
"""Environment variable that turns the hook off."""
MODELS = {
    "fin_vllm": "fin_plugins.scoring.fin_vllm:FinVLLM",
    "fin_hf": "fin_plugins.scoring.fin_hf:FinHF",
}
"""Our model classes by their lm-eval `--model` names; imported only when used."""
_INDEX = "lm_eval.tasks._index"


def install() -> None:
    """Wait for the import of lm-eval's task index and models, unless switched off."""
    if switched_off() or any(isinstance(finder, _HookFinder) for finder in sys.meta_path):
        return
    for name in [name for name in _HOOKS if name in sys.modules]:
        _HOOKS[name](sys.modules[name])
    if waiting := [name for name in _HOOKS if name not in sys.modules]:
        sys.meta_path.insert(0, _HookFinder(waiting))


def switched_off() -> bool:
    """Whether the environment variable `FIN_PLUGINS_AUTOLOAD` turns the hook off."""
    return os.environ.get(SWITCH, "").strip().lower() in {"0", "off", "no", "false"}


def overtaking_finder() -> str | None:
    """Name of a finder that resolves lm-eval's task index before ours, which hides our tasks; usually None."""
    position = next((index for index, finder in enumerate(sys.meta_path) if isinstance(finder, _HookFinder)), 0)
    for finder in sys.meta_path[:position]:
        if _resolves_index(finder):
            kind = finder if isinstance(finder, type) else type(finder)
            return f"{kind.__module__}.{kind.__qualname__}"
    return None


def register_models(_module: ModuleType | None = None) -> None:
    """Register our model classes with lm-eval by name; names already taken (by lm-eval's entry point) stay."""
    from lm_eval.api.registry import model_registry

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


def wrap_task_index(module: ModuleType) -> None:
    """Make `TaskIndex.build` scan our task folder too.

    Args:
        module: `lm_eval.tasks._index`.
    """
    from fin_plugins.common.locations import task_folder

    index: Any = module.TaskIndex
    build = index.build
    if getattr(build, "_fin_plugins", False):
        return
    our_folder, lm_eval_folder = task_folder(), Path(str(module.__file__)).resolve().parent

    def build_with_ours(paths: Iterable[Path], **options: Any) -> Any:
        folders = [Path(path) for path in paths]
        with suppress(Exception):
            folders = insert_folder(folders, our_folder, lm_eval_folder)
        return build(folders, **options)

    build_with_ours._fin_plugins = True  # type: ignore[attr-defined]
    index.build = staticmethod(build_with_ours)


def insert_folder(folders: list[Path], our_folder: Path, lm_eval_folder: Path) -> list[Path]:
    """Insert our folder after lm-eval's own; no change if ours is listed already or lm-eval's is not."""
    resolved = [folder.resolve() for folder in folders]
    is_listed = any(folder in (our_folder, *our_folder.parents) for folder in resolved if folder != lm_eval_folder)
    if lm_eval_folder not in resolved or is_listed:
        return folders
    position = resolved.index(lm_eval_folder) + 1
    return [*folders[:position], our_folder, *folders[position:]]


class _HookFinder:
    """Finds the modules that it waits for by asking all other finders, and wraps their loaders."""

    def __init__(self, waiting: Sequence[str]) -> None:
        self._waiting = set(waiting)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        self._move_to_front()
        if name not in self._waiting:
            return None
        self._waiting.remove(name)
        if not self._waiting:
            with suppress(ValueError):
                sys.meta_path.remove(self)
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = _ask_finder(finder, name, path, target)
            if spec is not None and spec.loader is not None:
                _run_after_import(spec.loader, _HOOKS[name])
                return spec
        return None

    def _move_to_front(self) -> None:
        """Stay in front: a finder put there later could resolve lm-eval's modules before this one is asked."""
        with suppress(ValueError, IndexError):
            if sys.meta_path[0] is not self:
                sys.meta_path.remove(self)
                sys.meta_path.insert(0, self)


def _ask_finder(finder: Any, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    with suppress(AttributeError):  # a finder without `find_spec`, which Python skips too
        spec: ModuleSpec | None = finder.find_spec(name, path, target)
        return spec
    return None


def _resolves_index(finder: Any) -> bool:
    spec = find_spec("lm_eval")
    package = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    with suppress(Exception):
        return bool(package) and _ask_finder(finder, _INDEX, [f"{package}/tasks"], None) is not None
    return False


def _run_after_import(loader: Any, hook: Callable[[ModuleType], None]) -> None:
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        with suppress(Exception):
            hook(module)

    with suppress(AttributeError):
        loader.exec_module = exec_module


_HOOKS: dict[str, Callable[[ModuleType], None]] = {
    _INDEX: wrap_task_index,
    "lm_eval.models": register_models,
}
