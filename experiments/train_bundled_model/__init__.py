"""Train the bundled model: a small GPT-J that learns in context, in minutes on two cores."""
