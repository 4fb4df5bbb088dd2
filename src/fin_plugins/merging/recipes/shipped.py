"""The recipes that come with the package: found by name, listed, copied out."""

from fin_plugins.locations import merge_folder
from fin_plugins.shipped import Shipped, about

_FILES = Shipped("recipe", merge_folder)
shipped, find, copy = _FILES.files, _FILES.find, _FILES.copy


def listed() -> dict[str, str]:
    """What each shipped recipe says of itself, by name."""
    return {name: about(file) for name, file in shipped().items()}
