"""Does truncation make real language models better at in-context learning? (docs/study.md)"""
