"""Let plain `lm_eval` find the tasks and model classes of this package.

lm-eval 0.4.13 has no way for an installed package to add tasks or models (its pull requests 4013 and 4015 will bring
one). So the wheel installs `fin_plugins.pth`, which calls `install()` at interpreter start. It puts one finder on
`sys.meta_path` that waits for two modules of lm-eval and takes itself off: in `lm_eval.tasks._index` it wraps
`TaskIndex.build` so that our folder is scanned right after lm-eval's own (a user's `--include_path` stays last and
wins), and behind `lm_eval.models` it registers the names of our model classes. Off with `FIN_PLUGINS_AUTOLOAD=0`.

Standard library only, and nothing here may raise: this runs in every Python process of the environment. The line of
`fin_plugins.pth` swallows what does all the same; `fin doctor` says that the tasks are not found, and why.
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
_INDEX = "lm_eval.tasks._index"
MODELS = {
    "fin_vllm": "fin_plugins.scoring.vllm:FinVLLM",
    "fin_hf": "fin_plugins.scoring.hf:FinHF",
}
"""lm-eval's `--model` names of our classes, imported only when asked for."""


def install() -> None:
    """Wait for lm-eval's task index and models to be imported, unless switched off."""
    if switched_off() or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    for name in [name for name in _HOOKS if name in sys.modules]:
        _HOOKS[name](sys.modules[name])
    if waiting := [name for name in _HOOKS if name not in sys.modules]:
        sys.meta_path.insert(0, _Finder(waiting))


def switched_off() -> bool:
    """Whether the environment variable `FIN_PLUGINS_AUTOLOAD` turns the start-up file off."""
    return os.environ.get(SWITCH, "").strip().lower() in {"0", "off", "no", "false"}


class _Finder:
    """Finds the modules that it waits for, by asking all other finders, and wraps their loaders."""

    def __init__(self, waiting: Sequence[str]) -> None:
        self._waiting = set(waiting)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        self._come_first()
        if name not in self._waiting:
            return None
        self._waiting.remove(name)
        if not self._waiting:
            with suppress(ValueError):
                sys.meta_path.remove(self)
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = _found_by(finder, name, path, target)
            if spec is not None and spec.loader is not None:
                _run_after_loading(spec.loader, _HOOKS[name])
                return spec
        return None

    def _come_first(self) -> None:
        """Go back to the front: a finder put there later could resolve lm-eval's modules before this one is asked."""
        with suppress(ValueError, IndexError):
            if sys.meta_path[0] is not self:
                sys.meta_path.remove(self)
                sys.meta_path.insert(0, self)


def _found_by(finder: Any, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    with suppress(AttributeError):  # a finder of an old kind, which Python passes over
        spec: ModuleSpec | None = finder.find_spec(name, path, target)
        return spec
    return None


def finder_in_front() -> str | None:
    """What resolves lm-eval's task index before our finder is asked, so that our tasks stay unseen; None as a rule."""
    ours = next((place for place, finder in enumerate(sys.meta_path) if isinstance(finder, _Finder)), 0)
    for finder in sys.meta_path[:ours]:
        if _resolves_index(finder):
            kind = finder if isinstance(finder, type) else type(finder)
            return f"{kind.__module__}.{kind.__qualname__}"
    return None


def _resolves_index(finder: Any) -> bool:
    package = _folder_of("lm_eval")
    with suppress(Exception):
        return bool(package) and _found_by(finder, _INDEX, [f"{package}/tasks"], None) is not None
    return False


def _folder_of(package: str) -> str | None:
    """The folder of a package, without importing it."""
    spec = find_spec(package)
    return next(iter(spec.submodule_search_locations or ()), None) if spec else None


def _run_after_loading(loader: Any, hook: Callable[[ModuleType], None]) -> None:
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        with suppress(Exception):
            hook(module)

    with suppress(AttributeError):
        loader.exec_module = exec_module


def _scan_our_folder_too(module: ModuleType) -> None:
    from fin_plugins.common.locations import task_folder

    index: Any = module.TaskIndex
    build = index.build
    if getattr(build, "_fin_plugins", False):
        return
    ours = task_folder()

    def with_ours(paths: Iterable[Path], **options: Any) -> Any:
        listed = [Path(path) for path in paths]
        with suppress(Exception):
            listed = _with_folder(listed, ours, _shipped_with(module))
        return build(listed, **options)

    with_ours._fin_plugins = True  # type: ignore[attr-defined]
    index.build = staticmethod(with_ours)


def register_models(_module: ModuleType | None = None) -> None:
    """Register our model classes with lm-eval by name; a name that is taken (lm-eval's own entry point) stays."""
    from lm_eval.api.registry import model_registry

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


def _shipped_with(module: ModuleType) -> Path:
    return Path(str(module.__file__)).resolve().parent


def _with_folder(paths: list[Path], ours: Path, shipped: Path) -> list[Path]:
    """Our folder right behind lm-eval's own; no change where it is listed or lm-eval's own is left out."""
    places = [path.resolve() for path in paths]
    if shipped not in places or any(place in (ours, *ours.parents) for place in places if place != shipped):
        return paths
    after = places.index(shipped) + 1
    return [*paths[:after], ours, *paths[after:]]


_HOOKS: dict[str, Callable[[ModuleType], None]] = {
    _INDEX: _scan_our_folder_too,
    "lm_eval.models": register_models,
}
