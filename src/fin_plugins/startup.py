"""Let plain `lm_eval` find the tasks of this package.

lm-eval 0.4.13 has no way for an installed package to add tasks (its pull request 4015 will bring one). So the wheel
installs `fin_plugins.pth`, which calls `install()` at interpreter start. It puts one finder on `sys.meta_path` that
waits for `lm_eval.tasks._index`, wraps `TaskIndex.build` so that our folder is scanned right after lm-eval's own, and
takes itself off. A user's `--include_path` stays last and wins. Off with `FIN_PLUGINS_AUTOLOAD=0`.

Standard library only, and nothing here may raise: this runs in every Python process of the environment.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

SWITCH = "FIN_PLUGINS_AUTOLOAD"
_INDEX = "lm_eval.tasks._index"


def install() -> None:
    """Wait for lm-eval's task index to be imported, unless switched off."""
    if switched_off() or any(isinstance(finder, _IndexFinder) for finder in sys.meta_path):
        return
    if _INDEX in sys.modules:
        _scan_our_folder_too(sys.modules[_INDEX])
        return
    sys.meta_path.insert(0, _IndexFinder())


def switched_off() -> bool:
    """Whether the environment variable `FIN_PLUGINS_AUTOLOAD` turns the start-up file off."""
    return os.environ.get(SWITCH, "").strip().lower() in {"0", "off", "no", "false"}


class _IndexFinder:
    """Finds one module only, by asking all finders behind it, and wraps that module's loader."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _INDEX:
            return None
        with suppress(ValueError):
            sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                _run_after_loading(spec.loader)
                return spec
        return None


def _run_after_loading(loader: Any) -> None:
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        with suppress(Exception):
            _scan_our_folder_too(module)

    with suppress(AttributeError):
        loader.exec_module = exec_module


def _scan_our_folder_too(module: ModuleType) -> None:
    from fin_plugins.locations import task_folder

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


def _shipped_with(module: ModuleType) -> Path:
    return Path(str(module.__file__)).resolve().parent


def _with_folder(paths: list[Path], ours: Path, shipped: Path) -> list[Path]:
    """Our folder right behind lm-eval's own; no change where it is listed or lm-eval's own is left out."""
    places = [path.resolve() for path in paths]
    if shipped not in places or any(place in (ours, *ours.parents) for place in places if place != shipped):
        return paths
    after = places.index(shipped) + 1
    return [*paths[:after], ours, *paths[after:]]
