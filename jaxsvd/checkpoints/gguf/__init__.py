"""Models in GGUF files, as llama.cpp writes them, read as if they were in Hugging Face layout."""
