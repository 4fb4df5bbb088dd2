"""What makes `fin eval` quick in tests."""

from tests.evaluation.conftest import quick  # noqa: F401 (a fixture)
