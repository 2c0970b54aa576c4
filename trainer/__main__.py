"""`python -m trainer spec.yaml`: the whole trainer with no server."""

import argparse
import csv
import json
import re
import signal
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from trainer import checkpoint, data, device, document, processes, snapshot
from trainer.data import DataSet
from trainer.datasets import loading
from trainer.errors import SpecInvalid, TrainerError
from trainer.events import (
    CheckpointReady,
    EnsembleScored,
    EpochFinished,
    Event,
    LayersInspected,
    LintFound,
    NetworkPruned,
    Scores,
    SnapshotTaken,
    TrainingStarted,
    TrainingStopped,
    VoteScores,
    ensemble_title,
)
from trainer.plan import check
from trainer.processes import Place, follow, take_place
from trainer.replicas import meet
from trainer.spec import TrainingSpec
from trainer.train import Resume, train

DONE, BAD_INPUT, FAILED, STOPPED = 0, 2, 3, 4
CHECKPOINT = "checkpoint.safetensors"
REPORTED = ("epochs", "layers", "snapshots", "prunings")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 done, 2 bad input, 3 failed, 4 stopped."""
    options = _parser().parse_args(arguments)
    try:
        spec = _spec(options.spec)
        with loading.opened_at(options.data) as data_folder:
            return _run(options, spec, data_folder)
    except SpecInvalid as error:
        for mistake in error.mistakes:
            print(mistake.detail, file=sys.stderr)
        return BAD_INPUT
    except TrainerError as error:
        print(f"{error}\n{error.hint or ''}".rstrip(), file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT


def _run(options: argparse.Namespace, spec: TrainingSpec, data_folder: Path | None) -> int:
    """Train from a folder that has the data, else from the spec's bundled data set."""
    dataset = _dataset(data_folder, spec)
    _check(options.spec, spec, dataset)
    folder = options.out or Path("runs") / _slug(spec.name)
    with take_place(spec, data_folder, options.threads, options.resident_bytes) as place:
        if place.rank > 0:
            follow(spec, dataset, place)
            return DONE
        return Run(spec, folder, place, resume=options.resume, shows_layers=options.layers).lead(dataset)


class Run:
    """A training in a folder of its own: snapshots, metrics, the result, and the newest checkpoint."""

    def __init__(self, spec: TrainingSpec, folder: Path, place: Place, *, resume: bool, shows_layers: bool) -> None:
        self.spec = spec
        self.folder = folder
        self.place = place
        self.resume = resume
        self.shows_layers = shows_layers
        self.code = DONE
        self.result: dict[str, Any] = {"spec": spec.model_dump(mode="json"), **{name: [] for name in REPORTED}}

    def lead(self, dataset: DataSet) -> int:
        """Train to the end, or until Ctrl-C, which leaves a checkpoint."""
        torch.set_num_threads(self.place.threads)
        chosen = device.choose(self.spec.device, self.place.local)
        self.folder.mkdir(parents=True, exist_ok=True)
        goes_on = self._resume() if self.resume else None
        with (
            _interrupt() as asked,
            meet(self.place.rank, self.place.count, chosen, self.place.where) as replicas,
        ):
            events = train(
                self.spec,
                dataset,
                device=chosen,
                replicas=replicas,
                resume=goes_on,
                resident_bytes=self.place.resident_bytes,
                stop=lambda: bool(asked),
            )
            try:
                for event in events:
                    self._handle(event)
            except TrainerError:
                self._write_metrics()
                raise
        self._write_metrics()
        if self.code == DONE:
            self._write_result()
        return self.code

    def _handle(self, event: Event) -> None:
        match event:
            case TrainingStarted():
                self.result["environment"] = dict(event.environment)
                print(f"{event.parameters:,} parameters on {_devices(event)}; files in {self.folder}")
                if event.streamed:
                    print(f"streamed from the host: {' and '.join(event.streamed)} images")
            case EpochFinished():
                self.result["epochs"].append(asdict(event))
                print(_epoch_line(event, self.spec.total_epochs), flush=True)
            case LayersInspected():
                self.result["layers"].append(asdict(event))
                if self.shows_layers:
                    print(_layer_table(event))
            case LintFound():
                print(f"warning: {event.detail}")
            case SnapshotTaken():
                path = self.folder / f"snapshot-{event.number}.safetensors"
                snapshot.write(path, event.weights, event.provenance)
                scores = asdict(event.scores)
                self.result["snapshots"].append({"file": path.name, "epoch": event.epoch, **scores})
            case NetworkPruned():
                self.result["prunings"].append(asdict(event))
                print(f"pruned, round {event.round}: {event.sparsity:.2%} of the weights are gone, the rest rewound")
            case CheckpointReady():
                facts = {**event.facts, **{name: self.result[name] for name in REPORTED}}
                checkpoint.write(self.folder / CHECKPOINT, event.tensors, facts)
            case EnsembleScored():
                self.result["ensemble"] = asdict(event)
                print(_ensemble_table(event))
            case TrainingStopped():
                self.code = STOPPED
                print(f"Stopped after step {event.step}; go on with --resume.")

    def _resume(self) -> Resume:
        path = self.folder / CHECKPOINT
        _, facts = checkpoint.read(path)
        self.result |= {name: facts[name] for name in REPORTED}
        files = [self.folder / taken["file"] for taken in facts["snapshots"]]
        return Resume(path, files)

    def _write_metrics(self) -> None:
        with (self.folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochFinished)])
            writer.writeheader()
            writer.writerows(self.result["epochs"])

    def _write_result(self) -> None:
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        (self.folder / "result.json").write_text(json.dumps(self.result, indent=2) + "\n")


class _interrupt:
    """Collects Ctrl-C and SIGTERM instead of dying of them; a second Ctrl-C is obeyed at once."""

    def __enter__(self) -> list[int]:
        asked: list[int] = []

        def ask(number: int, _frame: object) -> None:
            asked.append(number)
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])

        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, ask) for number in signals}
        return asked

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train a spec, with no server.")
    parser.add_argument("spec", type=Path, help="the spec, YAML or JSON")
    parser.add_argument(
        "--data", type=Path, help="a pack, or what docs/datasets.md lists; default: the spec's data set, bundled"
    )
    parser.add_argument("--out", type=Path, help="folder for what comes out; default: runs/NAME")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument(
        "--resident-bytes",
        type=_bytes,
        help="images that may lie on each device; others are streamed from the host; default: what fits",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--layers", action="store_true", help="show what stands in each layer when it is inspected")
    return parser


def _bytes(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes.")
    return int(text)


def _spec(path: Path) -> TrainingSpec:
    read = document.read(path)
    try:
        return read.spec()
    except SpecInvalid as error:
        raise _located(read, error) from None


def _check(path: Path, spec: TrainingSpec, dataset: DataSet) -> None:
    """Refuse a spec that does not fit the data or this machine, before anything is written."""
    try:
        check(spec, dataset.facts, processes.offer(spec))
    except SpecInvalid as error:
        raise _located(document.read(path), error) from None


def _located(read: document.Document, error: SpecInvalid) -> SpecInvalid:
    """The same mistakes, each with its file and line."""
    return SpecInvalid(
        [type(mistake)(mistake.pointer, mistake.code, read.complaint(mistake)) for mistake in error.mistakes]
    )


def _dataset(folder: Path | None, spec: TrainingSpec) -> DataSet:
    return loading.load(folder) if folder else data.load(spec.dataset)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"


def _devices(event: TrainingStarted) -> str:
    count, name = event.environment["devices"], event.environment["device"]
    return name if count == "1" else f"{count} times {name}"


def _epoch_line(event: EpochFinished, epochs: int) -> str:
    return (
        f"epoch {event.epoch}/{epochs}  loss {event.train_loss:.4f}  accuracy {event.train_accuracy:.2%}  "
        f"validation loss {event.validation_loss:.4f}  accuracy {event.validation_accuracy:.2%}  "
        f"rate {event.learning_rate:.3g}  {event.images_per_second:,.0f} images/s"
    )


def _layer_table(event: LayersInspected) -> str:
    lines = [f"after epoch {event.epoch}" if event.epoch else "at initialisation"]
    lines.append(f"{'layer':>5} {'name':<20} {'mean':>10} {'std':>10} {'gradient std':>13}")
    mean, std = map(_short, (event.inputs.mean, event.inputs.std))
    lines.append(f"{'':>5} {'input':<20} {mean:>10} {std:>10}")
    for layer in event.layers:
        values = (layer.activations.mean, layer.activations.std, layer.gradients.std)
        mean, std, gradient = map(_short, values)
        lines.append(f"{layer.index:>5} {layer.name:<20} {mean:>10} {std:>10} {gradient:>13}")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _ensemble_table(event: EnsembleScored) -> str:
    rows: list[tuple[str, Scores | VoteScores]] = []
    if event.averaged is None:
        rows += [(f"snapshot {member.snapshot}", member.scores) for member in event.members]
    rows.append(("last model alone", event.single))
    if event.averaged is None:
        rows += [("geometric mean", event.geometric_mean), ("majority vote", event.majority_vote)]
    rows.append((ensemble_title(event.kind, len(event.members), event.averaged), event.scores))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {_figures(scores)}" for name, scores in rows)


def _figures(scores: Scores | VoteScores) -> str:
    accuracy = f"accuracy {scores.accuracy:.2%}"
    if isinstance(scores, VoteScores):
        return accuracy
    return f"{accuracy}  negative log-likelihood {scores.negative_log_likelihood:.4f}"


if __name__ == "__main__":
    sys.exit(main())
