"""Tests of model-card templates."""

from pathlib import Path

import jinja2
import pytest
import yaml

from fin_plugins.common.model_card import front_matter, hub_id, render_markdown


def test_filters_escape_untrusted_text(tmp_path: Path) -> None:
    template = tmp_path / "card.jinja"
    template.write_text("# {{ name|words }}\n{{ loss|figure }}\n\n\n")
    assert render_markdown(template, name="a*b", loss=0.5) == "# a\\*b\n0.5000\n"


def test_an_undefined_value_is_an_error(tmp_path: Path) -> None:
    template = tmp_path / "card.jinja"
    template.write_text("{{ nothing }}")
    with pytest.raises(jinja2.UndefinedError):
        render_markdown(template)


def test_front_matter_is_yaml_in_the_given_order() -> None:
    text = front_matter({"license": "other", "base_model": ["é: x"]})
    assert yaml.safe_load(text) == {"license": "other", "base_model": ["é: x"]}
    assert text.startswith("license")


def test_only_a_repository_name_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local" / "model").mkdir(parents=True)
    assert hub_id("owner/name") == "owner/name"
    assert hub_id("gpt2", owner_required=False) == "gpt2"
    assert [hub_id(name) for name in ("local/model", "/absolute/path", "name", "../up/down")] == [None] * 4
