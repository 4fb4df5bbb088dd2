from pathlib import Path

import pytest

from tests.checks.check_helpers import FAULTS


@pytest.fixture
def news_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the rows of the good task."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "news.csv").write_bytes((FAULTS / "news.csv").read_bytes())
    return tmp_path
