"""From a mergekit recipe and experts to a merged model: a checkpoint, or for adapters one adapter."""
