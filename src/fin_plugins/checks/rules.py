"""All rules, by their codes."""

from functools import cache
from importlib.resources import files

from fin_plugins.checks.model import Rule


@cache
def static_rules() -> tuple[Rule, ...]:
    """The rules that need no rows; what they say stands in `rules.yaml`."""
    import yaml

    text = files(__package__).joinpath("rules.yaml").read_text(encoding="utf-8")
    return tuple(Rule(code, said["title"], said["why"]) for code, said in yaml.safe_load(text).items())


@cache
def rules() -> dict[str, Rule]:
    """All rules, in the order of `--list-rules`."""
    from fin_plugins.checks.rows import RULES

    return {rule.code: rule for rule in (*static_rules(), *RULES)}
