"""`python -m benchmarks [NAME …]`: run benchmarks, all of them unless some are named."""

import argparse

from rich.console import Console

from benchmarks import claims, dashboard, job, metrics, prediction, requests, startup, training

BENCHMARKS = {
    module.__name__.rpartition(".")[2]: module
    for module in (startup, requests, claims, metrics, dashboard, prediction, training, job)
}


def main() -> None:
    """Run them in the order of the table above."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}")
    chosen = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(BENCHMARKS)}")
    console = Console(width=132)
    for name in chosen:
        summary, *_ = (BENCHMARKS[name].__doc__ or "").splitlines()
        console.rule(f"{name}: {summary}")
        for table in BENCHMARKS[name].run():
            console.print(table)


if __name__ == "__main__":
    main()
