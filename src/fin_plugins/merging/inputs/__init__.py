"""What goes into a merge, looked at before any work: headers and configurations only, no weights."""
