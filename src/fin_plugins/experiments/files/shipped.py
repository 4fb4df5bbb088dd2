"""The experiments that come with the package: found by name, listed, copied out."""

from fin_plugins.locations import experiment_folder
from fin_plugins.shipped import Shipped

_FILES = Shipped("experiment", experiment_folder)
shipped, listing, find, copy = _FILES.files, _FILES.listing, _FILES.find, _FILES.copy
