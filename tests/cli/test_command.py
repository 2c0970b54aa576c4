"""The `annealer` command: what it prints, and its exit codes."""

import csv
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.client import Client
from tests.cli.conftest import Run, Up
from tests.servers import await_true
from tests.specs import document
from trainer import snapshot
from trainer.filters import draw, first

SpecFile = Callable[..., Path]

DIVERGES = {
    "schedule": {"kind": "constant", "learning_rate": 1000},
    "optimizer": {"kind": "sgd", "momentum": {"form": "classical", "m": 0.99}},
    "ensemble": {"kind": "none"},
}


@pytest.fixture(scope="module")
def job_id(client: Client) -> str:
    """A job that has succeeded."""
    job = client.submit(document(name="shown"))
    *_, last = client.watch(job.id)
    assert last.status == "succeeded"
    return job.id


def test_submit_and_watch_show_epochs_and_the_ensemble(annealer: Run, spec_file: SpecFile) -> None:
    done = annealer("submit", spec_file(), "--watch")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Submitted job_")
    assert "    4/4  " in done.stdout
    assert "status      succeeded" in done.stdout
    assert "ensemble" in done.stdout
    assert "\x1b" not in done.stdout


def test_submit_alone_prints_the_id(annealer: Run, spec_file: SpecFile, client: Client) -> None:
    done = annealer("submit", spec_file(name="alone"))

    assert client.job(done.stdout.strip()).name == "alone"


def test_the_same_key_submits_once(annealer: Run, spec_file: SpecFile) -> None:
    first, again = (annealer("submit", spec_file(), "--key", "only-once") for _ in range(2))

    assert first.stdout == again.stdout


def test_watch_of_a_failed_job_exits_with_3_and_shows_the_hint(annealer: Run, spec_file: SpecFile) -> None:
    done = annealer("submit", spec_file(**DIVERGES), "--watch")

    assert done.returncode == 3
    assert "The loss became" in done.stdout
    assert "Lower schedule.learning_rate" in done.stdout


def test_watch_of_a_cancelled_job_exits_with_4(annealer: Run, client: Client) -> None:
    job = client.submit(document(epochs=9000))

    cancelled = annealer("cancel", job.id)
    watched = annealer("watch", job.id)

    assert cancelled.stdout.strip() in ("cancelled", "cancelling")
    assert watched.returncode == 4


def test_pause_resume_and_retry_take_a_job_through_its_life(annealer: Run, client: Client) -> None:
    job = client.submit(document(epochs=9000), owner="me")

    with ThreadPoolExecutor() as beside:
        watched = beside.submit(annealer, "watch", job.id)
        said = [annealer("pause", job.id).stdout.strip(), annealer("pause", job.id).stdout.strip()]
        await_true(lambda: client.job(job.id).status == "paused", 30)
        said += [annealer(command, job.id).stdout.strip() for command in ("pause", "resume")]
        annealer("cancel", job.id)
        await_true(lambda: client.job(job.id).status == "cancelled", 30)
    assert f"Paused; annealer resume {job.id} lets it go on." in watched.result().stdout
    retried = json.loads(annealer("retry", job.id, "--from", "start", "--json").stdout)
    client.cancel(job.id)

    assert set(said[:2]) <= {"pausing", "paused"}
    assert said[2:] == ["paused", "queued"]
    assert (retried["status"], retried["owner"]) == ("queued", "me")
    assert "owner       me" in annealer("show", job.id).stdout


def test_a_job_is_given_another_priority(annealer: Run, client: Client) -> None:
    job = client.submit(document(epochs=400))

    said = [annealer("priority", job.id, number).stdout.strip() for number in ("7", "-3")]
    refused = annealer("priority", job.id, "101")
    client.cancel(job.id)
    await_true(lambda: client.job(job.id).status.is_final, 30)
    late = annealer("priority", job.id, "1")

    assert said == ["priority 7", "priority -3"]
    assert client.job(job.id).priority == -3
    assert refused.returncode == 2
    assert "less than or equal to 100" in refused.stderr
    assert late.returncode == 6
    assert "prioritized" in late.stderr


def test_a_retry_from_elsewhere_is_bad_input(annealer: Run, job_id: str) -> None:
    done = annealer("retry", job_id, "--from", "here")

    assert done.returncode == 2
    assert "'checkpoint', 'start'" in done.stderr


def test_what_is_not_allowed_tells_what_is(annealer: Run, job_id: str) -> None:
    done = annealer("retry", job_id)

    assert (done.returncode, done.stderr.strip()) == (
        6,
        f"Job {job_id} is succeeded and cannot be retried. Allowed now: delete.",
    )


def test_show_and_list_and_watch_speak_of_the_job(annealer: Run, job_id: str) -> None:
    shown, listed, watched = annealer("show", job_id), annealer("list", "--name", "shown"), annealer("watch", job_id)

    assert "shown" in shown.stdout
    (line,) = (line.split() for line in listed.stdout.splitlines() if job_id in line)
    assert {"training", "succeeded", "4/4"} <= set(line)
    assert watched.returncode == 0


@pytest.mark.parametrize(
    "command", ["show", "watch", "metrics", "layers", "snapshots", "ensemble", "list", "datasets", "workers"]
)
def test_reading_commands_print_json(annealer: Run, job_id: str, command: str) -> None:
    arguments = [command] if command in ("list", "datasets", "workers") else [command, job_id]

    done = annealer(*arguments, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_events_print_a_line_each(annealer: Run, job_id: str) -> None:
    plain, as_json = annealer("events", job_id), annealer("events", job_id, "--json", "--follow")

    kinds = [json.loads(line)["kind"] for line in as_json.stdout.splitlines()]
    assert kinds[0] == "submitted"
    assert kinds[-1] == "succeeded"
    assert len(plain.stdout.splitlines()) == len(kinds)


def test_metrics_print_tables_and_csv(annealer: Run, job_id: str) -> None:
    table = annealer("metrics", job_id)
    epochs = list(csv.DictReader(io.StringIO(annealer("metrics", job_id, "--csv").stdout)))
    steps = list(csv.DictReader(io.StringIO(annealer("metrics", job_id, "--series", "loss").stdout)))

    assert "validation loss" in table.stdout
    assert [row["epoch"] for row in epochs] == ["1", "2", "3", "4"]
    assert [row["step"] for row in steps] == [str(step) for step in range(1, 129)]


def test_layers_show_the_last_inspection_or_the_one_asked_for(annealer: Run, job_id: str) -> None:
    last, start = annealer("layers", job_id), annealer("layers", job_id, "--epoch", "0")

    assert "after epoch 4" in last.stdout
    assert "at initialisation" in start.stdout
    assert all(name in last.stdout for name in ("hidden1", "activation1", "output"))


def test_snapshots_are_downloaded(annealer: Run, job_id: str, tmp_path: Path, client: Client) -> None:
    done = annealer("snapshots", job_id, "--download", tmp_path / "weights")

    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "weights").iterdir())
    assert [path.name for path in files] == ["snapshot-1.safetensors", "snapshot-2.safetensors"]
    _, provenance = snapshot.load(files[1])
    assert provenance["scores"]["accuracy"] == client.snapshots(job_id)[1].scores.accuracy


def test_the_filters_of_a_snapshot_or_its_file_are_drawn(annealer: Run, client: Client, tmp_path: Path) -> None:
    network = {"kind": "convnet", "channels": [5], "kernel_size": 3}
    job = client.submit(document(network=network, epochs=2))
    list(client.watch(job.id))
    taken = client.snapshots(job.id)[-1]
    client.download(taken, tmp_path / "weights")

    by_id = annealer("filters", taken.id, "-o", tmp_path / "one.png", "--zoom", "2")
    by_file = annealer("filters", tmp_path / "weights", "-o", tmp_path / "two.png", "--zoom", "2", url="http://[::1]:9")

    assert "one.png: 5 filters of 1 × 3 × 3 weights." in by_id.stdout
    assert by_file.returncode == 0, by_file.stderr
    pixels = np.asarray(Image.open(tmp_path / "one.png"))
    assert np.array_equal(pixels, draw(first(tmp_path / "weights"), zoom=2))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_filters_of_what_is_no_snapshot_are_refused(annealer: Run, spec_file: SpecFile) -> None:
    other, unknown = annealer("filters", spec_file()), annealer("filters", "snap_unknown")

    assert other.returncode == 2
    assert "is not a snapshot" in other.stderr
    assert unknown.returncode == 6
    assert "Traceback" not in unknown.stderr


def test_validate_shows_spec_layers_and_curve(annealer: Run, spec_file: SpecFile) -> None:
    done = annealer("validate", spec_file())

    assert done.returncode == 0, done.stderr
    assert '"batch_size": 128' in done.stdout
    assert "hidden1" in done.stdout
    assert "12,544" in done.stdout
    assert "MiB in a training step: weights 0.0, gradients 0.0, optimizer 0.0, activations 0.4." in done.stdout
    assert "16 × 784 = 12,544" in done.stdout
    assert f"12,704 multiply-adds an image, about {3 * 128 * 12704:,} a step;" in done.stdout


def drawn(output: str) -> tuple[list[str], str, str]:
    """The lines of the curve from the top, what stands below it, and the caption; without the margin."""
    lines = [line[10:] for line in output.splitlines()]
    caption = next(index for index, line in enumerate(lines) if line.startswith("learning rate over"))
    return lines[caption - 8 : caption - 2], lines[caption - 1], lines[caption]


def test_validate_draws_cycles_with_a_mark_at_the_end_of_each(annealer: Run, spec_file: SpecFile) -> None:
    curve, marks, caption = drawn(annealer("validate", spec_file()).stdout)

    assert caption == "learning rate over 4 epochs; ▲ 2 snapshots"
    assert [column for column, mark in enumerate(marks) if mark != " "] == [35, 71]
    assert (curve[0][0], curve[0][36], curve[-1][35], curve[-1][71]) == ("█", "█", " ", " ")


def test_validate_draws_a_peak_and_a_warm_up_inside_an_epoch(annealer: Run, spec_file: SpecFile) -> None:
    schedule = {
        "kind": "triangular",
        "learning_rate": 0.01,
        "maximum": 0.1,
        "half": 0.25,
        "warmup": {"epochs": 0.5},
    }

    curve, marks, caption = drawn(
        annealer("validate", spec_file(schedule=schedule, epochs=1, ensemble={"kind": "none"})).stdout
    )

    assert caption == "learning rate over 1 epoch; ▲ 1 snapshot; · warm-up of 0.5 epochs"
    assert marks == "·" * 36 + " " * 35 + "▲"
    assert [column for column, block in enumerate(curve[0]) if block == "█"] == [53, 54]


def test_validate_marks_the_warm_up_of_each_training(annealer: Run, spec_file: SpecFile) -> None:
    schedule = {"kind": "constant", "learning_rate": 0.05, "warmup": {"epochs": 1}}
    pruning = {"kind": "lottery_ticket", "rounds": 1}

    done = annealer("validate", spec_file(schedule=schedule, pruning=pruning, ensemble={"kind": "none"}))

    _, marks, _ = drawn(done.stdout)
    assert marks == ("·" * 18 + " " * 17 + "▲") * 2


def test_validate_tells_mistakes_with_lines(annealer: Run, spec_file: SpecFile) -> None:
    path = spec_file(epochs=0, batchsize=3)
    line = path.read_text().splitlines().index("epochs: 0") + 1

    done = annealer("validate", path)

    assert done.returncode == 2
    assert f"{path}:{line}: /epochs: This must be at least 1; it is 0." in done.stderr
    assert "/batchsize: There is no key" in done.stderr
    assert "did you mean batch_size?" in done.stderr


@pytest.mark.parametrize("command", ["validate", "submit"])
def test_mistakes_between_fields_are_told_with_lines(annealer: Run, spec_file: SpecFile, command: str) -> None:
    path = spec_file(batch_size=5000)

    done = annealer(command, path)

    assert done.returncode == 2
    assert f"{path}:" in done.stderr
    assert "/batch_size: A batch of 5000 is larger" in done.stderr


def test_validate_warns_at_lines(annealer: Run, spec_file: SpecFile) -> None:
    path = spec_file(ensemble={"kind": "none"})

    done = annealer("validate", path)

    assert done.returncode == 0
    assert "warning: /ensemble: The schedule takes snapshots" in done.stdout


def test_validate_says_that_a_plateau_depends_on_the_training(annealer: Run, spec_file: SpecFile) -> None:
    plateau = {"kind": "plateau", "learning_rate": 0.05, "patience": 2}

    done = annealer("validate", spec_file(schedule=plateau, ensemble={"kind": "none"}))

    assert "learning rate over 4 epochs" in done.stdout
    assert "falls below this when the validation loss no longer improves" in done.stdout


@pytest.mark.parametrize(
    ("ensemble", "told"),
    [
        ({"kind": "independent", "members": 3}, "each of 3 members goes through this"),
        ({"kind": "swa", "start": 2}, "the weights of 3 epochs are averaged, from epoch 2 on"),
        ({"kind": "ema", "decay": 0.9}, "the weights of all steps are averaged with decay 0.9"),
    ],
)
def test_validate_says_what_is_done_besides_one_training(
    annealer: Run, spec_file: SpecFile, ensemble: dict[str, object], told: str
) -> None:
    done = annealer("validate", spec_file(schedule={"kind": "cosine", "learning_rate": 0.05}, ensemble=ensemble))

    assert "learning rate over 4 epochs" in done.stdout
    assert told in done.stdout


def test_validate_asks_the_server_for_data_sets_that_are_not_bundled(annealer: Run, spec_file: SpecFile) -> None:
    done = annealer("validate", spec_file(dataset="mine"))

    assert done.returncode == 2
    assert "/dataset: There is no data set mine. There is gaussian, mnist5k." in done.stderr


def test_delete_removes_a_finished_job(annealer: Run, client: Client) -> None:
    job = client.submit(document(epochs=2))
    list(client.watch(job.id))

    assert annealer("delete", job.id).returncode == 0
    shown = annealer("show", job.id)
    assert (shown.returncode, shown.stderr) == (6, f"There is no job {job.id}.\n")


def test_what_is_refused_exits_with_6_and_the_reason(annealer: Run, job_id: str) -> None:
    done = annealer("cancel", job_id)

    assert done.returncode == 6
    assert "is succeeded and cannot be cancelled" in done.stderr


def test_bad_options_exit_with_2(annealer: Run) -> None:
    done = annealer("list", "--status", "lost")

    assert done.returncode == 2
    assert "status:" in done.stderr


def test_a_missing_file_exits_with_2(annealer: Run) -> None:
    done = annealer("submit", "missing.yaml")

    assert done.returncode == 2
    assert "missing.yaml: No such file" in done.stderr


def test_a_server_that_is_away_exits_with_5_and_the_remedy(annealer: Run) -> None:
    done = annealer("list", url="http://127.0.0.1:9")

    assert done.returncode == 5
    assert "No answer from http://127.0.0.1:9" in done.stderr
    assert "up`" in done.stderr


def test_help_lists_the_commands_and_exit_codes(annealer: Run) -> None:
    done = annealer("--help")

    for word in (
        "up",
        "demo",
        "validate",
        "submit",
        "watch",
        "cancel",
        "pause",
        "resume",
        "retry",
        "priority",
        "delete",
        "metrics",
        "snapshots",
        "Exit codes",
    ):
        assert word in done.stdout


def test_migrate_needs_to_know_the_database(annealer: Run) -> None:
    done = annealer("migrate")

    assert done.returncode == 2
    assert "ANNEALER_DATABASE_URL is not set" in done.stderr


def test_workers_are_those_of_the_service(annealer: Run, up: Up) -> None:
    (worker,) = json.loads(annealer("workers", "--json").stdout)

    assert worker["alive"]
    assert worker["device"] in ("cpu", "cuda")


def test_a_card_and_a_report_are_files_that_stand_alone(annealer: Run, job_id: str, tmp_path: Path) -> None:
    shown, said = annealer("card", job_id), json.loads(annealer("card", job_id, "--json").stdout)
    kept = annealer("card", job_id, "--out", tmp_path / "card")
    written = annealer("report", job_id, "--html", tmp_path / "report.html")

    assert kept.returncode == written.returncode == 0, kept.stderr + written.stderr
    assert shown.stdout == (tmp_path / "card" / "model-card.md").read_text()
    assert said == json.loads((tmp_path / "card" / "model-card.json").read_text())
    assert said["trainings"][0]["job_id"] == job_id
    assert (tmp_path / "card" / "curves.svg").read_text().startswith("<svg")
    report = (tmp_path / "report.html").read_text()
    assert job_id in report
    assert "<svg" in report
