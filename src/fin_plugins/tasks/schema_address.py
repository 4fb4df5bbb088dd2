"""Where editors find the JSON Schema of task files."""

ADDRESS = "https://raw.githubusercontent.com/fin-plugins/fin-plugins/main/schema/task.schema.json"
