"""General conversations mixed in, so that what the model could do before is rehearsed."""
