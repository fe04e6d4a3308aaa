"""Runnable studies: ``python -m experiments.NAME``; each leaves a run directory."""
