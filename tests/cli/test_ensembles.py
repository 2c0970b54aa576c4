"""`annealer ensembles` and `annealer compare` beside a running service."""

import json
from pathlib import Path

import pytest
import yaml

from app.client import Client, NotFound, Refused
from tests.cli.conftest import Run
from tests.specs import document


@pytest.fixture(scope="module")
def jobs(client: Client) -> list[str]:
    """Two trainings that differ only in their seed."""
    made = [client.submit(document(name="seeds", seed=seed)).id for seed in (1, 2)]
    for job in made:
        *_, last = client.watch(job)
        assert last.status == "succeeded"
    return made


def test_an_ensemble_is_made_from_options_watched_shown_listed_and_deleted(
    annealer: Run, client: Client, jobs: list[str]
) -> None:
    of_jobs = [part for job in jobs for part in ("--job", job)]

    made = annealer("ensembles", "create", *of_jobs, "--greedy", 5, "--temperature", "--name", "both", "--watch")
    listed = json.loads(annealer("ensembles", "list", "--json").stdout)
    id = listed[0]["id"]
    shown = annealer("ensembles", "show", id)

    assert made.returncode == 0, made.stderr
    assert "best member alone" in made.stdout
    assert "scored on         validation/b, 500 images" in made.stdout
    assert "temperature" in made.stdout
    assert made.stdout == shown.stdout
    assert listed[0]["name"] == "both"
    assert id in annealer("ensembles", "list").stdout
    assert client.ensemble(id).spec["select"]["count"] == 5  # type: ignore[index]
    assert annealer("list", "--kind", "scoring", "--json").stdout.count('"kind": "scoring"') >= 1
    assert annealer("ensembles", "delete", id).returncode == 0
    with pytest.raises(NotFound):
        client.ensemble(id)


def test_an_ensemble_is_made_from_a_file_and_mistakes_are_told_with_lines(
    annealer: Run, jobs: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "together.yaml"
    wish = {"name": "together", "members": {"kind": "jobs", "ids": jobs, "last": 1}}
    path.write_text(yaml.safe_dump(wish, sort_keys=False))
    made = annealer("ensembles", "create", path, "--watch", "--json")
    path.write_text(yaml.safe_dump(wish | {"select": {"kind": "best", "count": 9}}, sort_keys=False))
    wrong = annealer("ensembles", "create", path)

    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["report"]["images"] == 1000
    assert wrong.returncode == 2
    assert f"{path}:10: /select/count: The best 9 are asked for, and there are 2 to choose from." in wrong.stderr


def test_options_that_exclude_each_other_are_bad_input(annealer: Run) -> None:
    for options in ([], ["--job", "a", "--snapshot", "b"], ["--job", "a", "--best", 1, "--greedy", 2]):
        assert annealer("ensembles", "create", *options).returncode == 2


def test_the_ensemble_of_a_training_is_not_deleted_alone(annealer: Run, client: Client, jobs: list[str]) -> None:
    done = annealer("ensembles", "delete", jobs[0])

    assert done.returncode == 6
    assert "goes with the job" in done.stderr
    with pytest.raises(Refused):
        client.delete_ensemble(jobs[0])


def test_trainings_are_compared(annealer: Run, jobs: list[str]) -> None:
    shown, as_json = annealer("compare", *jobs), annealer("compare", *jobs, "--json")

    assert shown.returncode == 0, shown.stderr
    assert "/seed" in shown.stdout
    assert "2 seeds" in shown.stdout
    assert "95% interval" in shown.stdout
    assert [job["id"] for job in json.loads(as_json.stdout)["jobs"]] == jobs
