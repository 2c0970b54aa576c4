"""The only place that speaks SQL. Knows neither HTTP nor queue nor torch.

One file a table's queries; every function takes a session and never commits: `engine.write` does, once, at
the edge.
"""
