"""The names of what lm-eval and this package ship."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fin_plugins.checks.model import TaskFile
from fin_plugins.checks.read import read_task_file
from fin_plugins.common.locations import task_folder

_NAME = re.compile(
    r"""^["']?(?:task|group)["']?[ \t]*:[ \t]*(["']?)([^\s"'#\[{|>&*!][^\n"'#]*?)\1[ \t]*(?:\#.*)?$""",
    re.MULTILINE,
)
_TAGS = re.compile(r"""^["']?tag["']?[ \t]*:(.*(?:\n[ \t-].*)*)""", re.MULTILINE)
_ENDINGS = (".yaml", "")  # what is only there to be included has none
_TAG = re.compile(r"[^\s,\[\]\"'#]+")
_ANY = re.compile(r"""^["']?(?:task|group|tag)["']?[ \t]*:.*(?:\n[ \t-].*)*""", re.MULTILINE)


def lm_eval_folder() -> Path:
    """The folder of lm-eval's own task files."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "tasks"


@cache
def lm_eval_names() -> frozenset[str]:
    """Tasks and groups of lm-eval's own files.

    Its index knows them, too, but takes twenty times as long, because it parses fourteen thousand files. Each of them
    names what it defines in a line of the first level, and that is what is looked for.
    """
    return frozenset(name for text in _texts() for _, name in _NAME.findall(text))


@cache
def lm_eval_tags() -> frozenset[str]:
    """Tags of lm-eval's own files, by the same way."""
    return frozenset(tag for text in _texts() for listed in _TAGS.findall(text) for tag in _TAG.findall(listed))


@cache
def _texts() -> tuple[str, ...]:
    """What the files say; only those parts of it that name something are kept."""
    files = (file for file in lm_eval_folder().rglob("*") if file.suffix in _ENDINGS and file.is_file())
    read = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return tuple("\n".join(match[0] for match in _ANY.finditer(text)) for text in read)


@cache
def our_files() -> tuple[TaskFile, ...]:
    """The task and group files of this package."""
    read = (read_task_file(path, str(path)).file for path in sorted(task_folder().rglob("*.yaml")))
    return tuple(file for file in read if file)
