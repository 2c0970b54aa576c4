"""Accepts, stores and shows training jobs. Imports no torch."""

__version__ = "0.1.0"
