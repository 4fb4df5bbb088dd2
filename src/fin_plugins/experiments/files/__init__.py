"""Reading experiment files: the shipped ones, changed keys, every problem at once."""
