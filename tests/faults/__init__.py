"""Breaks the running system on purpose, one test for each fault that it must survive; see judge for what that means.

The numbers in the names are those of the list in docs/operations.md, "Faults that are tried".
"""
