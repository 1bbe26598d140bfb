"""noren-serve: the same Bento, several times faster."""

__version__ = "0.1.0"
