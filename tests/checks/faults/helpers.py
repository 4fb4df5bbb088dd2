"""A file beside the task files that has no `choices`."""


def labels(row):
    return row["labels"]
