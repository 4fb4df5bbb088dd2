"""Where rows come from: pinned sources, builders, leak checks, embedded sample rows."""
