"""Noren takes machine-learning models from training to production."""

__version__ = "0.1.0"
