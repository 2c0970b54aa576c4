"""The only place that speaks SQL. Knows neither HTTP nor queue nor torch.

One file of queries a table, or a thing that is done to several; every function takes a session and never commits:
`engine.write` does, once, at the edge.
"""
