"""The recipes that come with the package: found by name, listed, copied out."""

from fin_plugins.locations import merge_folder
from fin_plugins.shipped import Shipped

_FILES = Shipped("recipe", merge_folder)
shipped, listed, listing, find, copy = _FILES.files, _FILES.listed, _FILES.listing, _FILES.find, _FILES.copy
