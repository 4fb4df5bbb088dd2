"""The `fin` command: one small file a verb, imports inside the verb."""
