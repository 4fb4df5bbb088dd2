"""Writing a task YAML for a labelled file: looking at the file, drafting, writing."""
