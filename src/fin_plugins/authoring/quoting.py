"""Text of a user's, such as a label `yes` or `{{x}}`, so that YAML and Jinja read it back as it is."""

import re
from typing import Any

import yaml

_WIDEST = 100
_TAG_BEGINS = re.compile(r"\{(?=[{%#])")


def value(data: Any) -> str:
    """Plain data as YAML on one line."""
    text = yaml.safe_dump(data, default_flow_style=True, width=1 << 30, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def entry(key: str, data: Any, indent: str) -> list[str]:
    """The lines of `key: data`; a list or mapping that is too long for one line has an item on each."""
    line = f"{indent}{key}: {value(data)}"
    if len(line) <= _WIDEST or not isinstance(data, list | dict):
        return [line]
    if isinstance(data, list):
        return [f"{indent}{key}:", *(f"{indent}  - {value(item)}" for item in data)]
    return [f"{indent}{key}:", *(f"{indent}  {value(name)}: {value(item)}" for name, item in data.items())]


def block(key: str, text: str) -> list[str]:
    """The lines of `key: |` with the text below; in quotes where a block cannot hold it."""
    lines = text.split("\n")
    if lines[-1] or lines[0] != lines[0].lstrip() or not all(line.isprintable() for line in lines) or not text.strip():
        return [f"{key}: {yaml.safe_dump(text, default_style=chr(34), width=1 << 30, allow_unicode=True).strip()}"]
    if len(lines) > 1 and not lines[-2]:
        return [f"{key}: |+", *(f"  {line}" if line else "" for line in lines[:-1])]
    return [f"{key}: |", *(f"  {line}" if line else "" for line in lines[:-1])]


def in_template(text: str) -> str:
    """Text that a Jinja template shows as it is."""
    return _TAG_BEGINS.sub("{{ '{' }}", text)


def in_comment(text: str) -> str:
    """Text that ends no comment."""
    return "".join(character if character.isprintable() else " " for character in text)
