"""The `fin` command: one small file per subcommand, whose imports are inside its function."""
