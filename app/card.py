"""A model card of an ensemble (Mitchell 2019): what it is made of, how good it is, and where that ends."""

import re
from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from app.api.schemas import CardDataView, CardTrainingView, CardView, DatasetDetailView, EnsembleView
from app.api.views import dataset_detail_view, ensemble_view
from app.store import datasets, ensembles, jobs, metrics, snapshots
from app.store.errors import NotFound, NotScored
from app.store.models import Dataset, Job, Snapshot

NOT_STATED = "not stated"
NONE = "\N{EN DASH}"
KNOWN = {"mnist": "CC BY-SA 3.0", "fashion-mnist": "MIT"}
"""Licences under which what everybody knows is published; for CIFAR none is stated."""
FEW = 50
"""Images of a class, below which its figures say little."""
POOR_RECALL = 0.8
POOR_CALIBRATION = 0.05
MOST_CONFUSED = 10
LOADING = """from pathlib import Path
from app.client import Client

with Client("{url}") as client:  # pip install . in a checkout of Annealer; key="ann_…" where keys are asked for
    found = client.predict("{id}", [Path("image.png")], members=True)
    for item in found.items:
        print(item.label, item.top[0].probability if item.top else "", item.disagreement)

# Without a server: annealer export {id} --format onnx --out model
# then onnxruntime.InferenceSession("model/model.onnx").run(None, {{"images": uint8_images}})
"""


def make(session: Session, ensemble_id: str, url: str) -> CardView:
    """The card of a scored ensemble, which is asked at `url`. Raises `NotFound` or `NotScored`."""
    stored = ensembles.get(session, ensemble_id)
    view = ensemble_view(session, stored)
    if view.scores is None:
        raise NotScored(ensemble_id)
    chosen = [snapshots.get(session, one.snapshot_id) for one in view.members if one.weight]
    trainings = [_training(session, job_id, chosen) for job_id in dict.fromkeys(one.job_id for one in chosen)]
    scored_on = (view.spec or {}).get("dataset") or chosen[0].provenance["dataset"]["name"]
    data = [_data(session, name) for name in dict.fromkeys([*(one.dataset for one in trainings), scored_on])]
    return CardView(
        id=view.id,
        name=view.name,
        kind=view.kind,
        created_at=view.created_at,
        input_shape=chosen[0].provenance["input_shape"],
        classes=chosen[0].provenance["classes"],
        members=[one for one in view.members if one.weight],
        combine=(view.spec or {}).get("combine", "mean"),
        data=data,
        trainings=trainings,
        scored_on=view.report.split if view.report else "validation",
        scores=view.scores,
        single=view.single,
        report=view.report,
        limits=list(_limits(view, chosen[0], data)),
        versions=chosen[0].provenance.get("environment", {}),
        loading=LOADING.format(url=url, id=view.id),
    )


def _training(session: Session, job_id: str, chosen: Sequence[Snapshot]) -> CardTrainingView:
    job = jobs.get(session, job_id)
    epochs = metrics.epochs(session, job_id)
    used = [one.number for one in chosen if one.job_id == job_id]
    return CardTrainingView(
        job_id=job_id,
        name=job.name,
        dataset=job.spec["dataset"],
        spec=job.spec,
        epochs=len(epochs),
        seconds=sum(row.seconds for row in epochs),
        snapshots=used,
    )


def _data(session: Session, name: str) -> CardDataView:
    try:
        dataset = datasets.get(session, name)
    except NotFound:
        return CardDataView(name=name, id=None, licence=NOT_STATED, splits=None, warnings=[])
    view = dataset_detail_view(session, dataset)
    return CardDataView(
        name=name,
        id=view.id,
        licence=_licence(session, dataset, view),
        splits=view.splits,
        warnings=[note.detail for note in view.warnings],
    )


def _licence(session: Session, dataset: Dataset, view: DatasetDetailView) -> str:
    stated = view.origin.options.get("licence") if view.origin else None
    if stated:
        return str(stated)
    made_by: Job | None = datasets.imports(session, [dataset.id]).get(dataset.id)
    source = made_by.spec["source"] if made_by else {}
    return KNOWN.get(source.get("name", ""), NOT_STATED)


def _limits(view: EnsembleView, first: Snapshot, data: Sequence[CardDataView]) -> Iterator[str]:
    """What follows from the figures, and what nobody has tried."""
    channels, height, width = first.provenance["input_shape"]
    kind = "grey" if channels == 1 else "RGB" if channels == 3 else f"of {channels} channels"
    yield (
        f"It says one of {len(first.provenance['classes'])} classes of any image, also of one that shows none of them."
    )
    yield (
        f"It sees images of {height}×{width} pixels, {kind}. Others are resized by the shorter side, bilinear, and cut "
        "around the centre."
    )
    split = view.report.split if view.report else "validation"
    if split.startswith("validation"):
        yield "The trainings and their choices may have gone by the validation split: its scores are rather too good."
    elif split == "train":
        yield "It is scored on images that it was trained on: that says nothing of others."
    yield f"It was tried on images of {', '.join(one.name for one in data)} alone; others may look otherwise."
    for one in data:
        yield from (f"{one.name}: {warning}" for warning in one.warnings)
    if view.report is None:
        yield "It is scored as its training does: which classes are confused is not known. Score it in full for that."
        return
    calibration = view.report.calibration
    if calibration and calibration.expected_calibration_error > POOR_CALIBRATION:
        off = calibration.expected_calibration_error
        yield f"Its probabilities are off by {off:.1%} on average; scale its temperature."
    for label in view.report.classes:
        if label.count < FEW:
            yield f"Of the class {label.name} there were {label.count} images to score: its figures say little."
        if label.recall is not None and label.recall < POOR_RECALL:
            yield f"Of the class {label.name} it finds {label.recall:.1%} only."


def markdown(card: CardView) -> str:
    """The card as Markdown. Its figure is `curves.svg` beside it."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: CardView) -> Iterator[str]:
    channels, height, width = card.input_shape
    yield f"# {_plain(card.name)}"
    yield ""
    how = card.combine.replace("_", " ")
    yield f"`{card.id}`, {card.kind}, made {card.created_at:%Y-%m-%d}: {len(card.members)} networks that look at images"
    yield f"of {height}×{width} pixels and {channels} channel{'s' if channels > 1 else ''}, combined by {how}."
    yield f"Classes: {', '.join(map(_plain, card.classes))}."
    yield from _of_scores(card)
    yield from _of_data(card)
    yield from _of_training(card)
    yield "\n## Limits\n"
    yield from (f"- {_plain(one)}" for one in card.limits)
    yield "\n## Use\n\n```python"
    yield card.loading.rstrip()
    yield "```\n\n## Versions\n"
    yield ", ".join(f"{name} {value}" for name, value in card.versions.items())


def _of_scores(card: CardView) -> Iterator[str]:
    yield f"\n## Scores on {card.scored_on}\n\n| | accuracy | error | negative log-likelihood |"
    yield "| --- | --- | --- | --- |"
    rows = [("all together", card.scores), ("the single model", card.single)]
    for name, scores in rows:
        if scores:
            likelihood = scores.negative_log_likelihood
            shown = NONE if likelihood is None else f"{likelihood:.4f}"
            yield f"| {name} | {scores.accuracy:.2%} | {scores.error:.2%} | {shown} |"
    report = card.report
    if report is None:
        return
    yield f"\n{report.images:,} images."
    if report.brier is not None and report.calibration:
        error = report.calibration.expected_calibration_error
        yield f"Brier score {report.brier:.4f}, expected calibration error {error:.2%}."
    yield "\n| class | images | precision | recall | F1 |\n| --- | --- | --- | --- | --- |"
    for one in report.classes:
        figures = " | ".join(NONE if value is None else f"{value:.2%}" for value in (one.precision, one.recall, one.f1))
        yield f"| {_plain(one.name)} | {one.count:,} | {figures} |"
    yield "\nMost often confused:\n"
    names = [one.name for one in report.classes]
    pairs = [
        (count, names[truth], names[seen])
        for truth, row in enumerate(report.confusion)
        for seen, count in enumerate(row)
        if count and truth != seen
    ]
    for count, truth, seen in sorted(pairs, key=lambda pair: -pair[0])[:MOST_CONFUSED]:
        yield f"- {count} of {_plain(truth)} are seen as {_plain(seen)}"


def _of_data(card: CardView) -> Iterator[str]:
    yield "\n## Data\n"
    for one in card.data:
        yield f"- {_plain(one.name)}, `{one.id or 'deleted since'}`, licence: {_plain(one.licence)}"
        if one.splits:
            counts = {"train": one.splits.train, "validation": one.splits.validation, "test": one.splits.test}
            shown = ", ".join(f"{split.count:,} to {name}" for name, split in counts.items() if split)
            yield f"  ({shown.replace('to validation', 'to validate').replace('to test', 'to test')})"


def _of_training(card: CardView) -> Iterator[str]:
    yield "\n## Training\n\n![Loss and accuracy by epoch](curves.svg)\n"
    for one in card.trainings:
        numbers = ", ".join(map(str, one.snapshots))
        spec = one.spec
        yield (
            f"- {_plain(one.name)}, `{one.job_id}`: {spec['network']['kind']}, {spec['optimizer']['kind']}, "
            f"{spec['schedule']['kind']}, {one.epochs} epochs in {one.seconds:,.0f} s, seed {spec['seed']}; "
            f"snapshots {numbers}"
        )


def _plain(text: str) -> str:
    """Text of others' that is no markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", " ".join(text.split()))
