"""`python -m worker`: one worker process, until SIGTERM or Ctrl-C drains it.

Only this guard stands at the top level: a forked child imports this module again to find its `__main__`.
"""

if __name__ == "__main__":
    from worker.process import main

    main()
