"""The first line of an error."""

import pytest

from fin_plugins.common.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("one\ntwo"), "one"), (OSError(), "OSError"), (KeyError(""), "''")]
)
def test_the_first_line_of_an_error(error: Exception, line: str) -> None:
    assert first_line(error) == line
