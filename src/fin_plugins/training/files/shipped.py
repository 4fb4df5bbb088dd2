"""The training files that come with the package: found by name, listed, copied out."""

from fin_plugins.locations import training_folder
from fin_plugins.shipped import Shipped

_FILES = Shipped("configuration", training_folder)
shipped, listing, find, copy = _FILES.files, _FILES.listing, _FILES.find, _FILES.copy
