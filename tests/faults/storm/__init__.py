"""Two workers, a hundred jobs, and for ten minutes everything that can go wrong.

The schedule is drawn from a seed, which is printed: the same seed injects the same kinds of faults at the same times.
What they hit depends on what runs then. Parts that end are started again, as a supervisor of services would do. At the
end everything is mended, all jobs must become final, and the judge of the fault tests looks at each of them.
"""
