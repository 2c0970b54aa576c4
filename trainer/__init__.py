"""Turns a training spec and a data set into events. Knows no database, no queue, no HTTP.

Empty on purpose: `trainer.spec` must be importable without loading torch.
"""
