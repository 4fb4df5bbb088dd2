"""What a task YAML calls: row loading, label parsing, processing of results."""
