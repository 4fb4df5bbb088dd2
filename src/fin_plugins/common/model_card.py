"""Model cards: the README.md beside an adapter or checkpoint, which a model hub shows."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from fin_plugins.common.markdown import escape, inline_code, number, table_cell

FILE = "README.md"
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)


def render_markdown(template: Path, filters: Mapping[str, Callable[..., str]] | None = None, **context: Any) -> str:
    """Fill a Jinja template whose output is Markdown.

    Markdown has no autoescape. Text from users and data must go through one of the filters `words`, `code`, `cell`
    and `figure`, which leave no markup, HTML, line break or YAML in it.

    Args:
        template: file of the template.
        filters: more filters, by name.
        context: values that the template uses; an undefined one is an error.

    Returns:
        The text, ending in one line break.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters |= {
        "words": escape,
        "code": inline_code,
        "cell": table_cell,
        "figure": number,
        **(filters or {}),
    }
    return environment.from_string(template.read_text(encoding="utf-8")).render(**context).rstrip() + "\n"


def front_matter(metadata: Mapping[str, Any]) -> str:
    """The hub's metadata as YAML, without the lines of dashes around it."""
    return str(yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=10_000)).strip()


def hub_id(name: str, *, owner_required: bool = True) -> str | None:
    """The name if it can be a repository on a model hub and is not a path here, else None.

    Args:
        name: name or path of a model.
        owner_required: accept `owner/name` only, not the hub's oldest models, which have no owner, such as `gpt2`.
    """
    if not _HUB_ID.fullmatch(name) or (owner_required and "/" not in name) or Path(name).exists():
        return None
    return name
