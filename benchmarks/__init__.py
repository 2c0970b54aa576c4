"""How fast it is, as ratios within one run: `make bench`, or `python -m benchmarks NAME …` for some of it.

Machines differ and are noisy, so nothing here passes or fails. Each figure stands beside something bare that was timed
in turn with it, and comes with its spread.

`benchmarks.techniques` asks another question, and has a command of its own: what each technique buys.
"""
