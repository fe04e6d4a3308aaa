"""Text to token ids: tokenizer.json, tokenizer.model and what GGUF files hold of either."""
