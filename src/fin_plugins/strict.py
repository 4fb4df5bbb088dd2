"""What the models of our own YAML files share: no key unknown, nothing infinite, nothing changed after reading."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not yes or no")
    return value


def rule(key: str, message: str) -> PydanticCustomError:
    """A broken rule between keys, with the key that it is about, so that a line can be named."""
    return PydanticCustomError("rule", "{message}", {"key": key, "message": message})


Text = Annotated[str, Field(min_length=1)]
Number = BeforeValidator(_number)
Positive = Annotated[int, Number, Field(gt=0)]
Share = Annotated[float, Number, Field(gt=0)]


class Strict(BaseModel):
    """No key that is not known, no infinite number, and nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
