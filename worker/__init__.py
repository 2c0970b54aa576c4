"""Joins the two others: claims a job, runs the trainer in a child process, stores what it reports."""
