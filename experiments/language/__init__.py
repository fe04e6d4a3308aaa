"""What the experiments on language models share: options, units of work, pooling, pictures."""
