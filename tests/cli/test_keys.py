"""Keys on the command line and in the client, and servers that do not start without."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from app import keytext
from app.client import Client, ClientError, Forbidden, KeyNeeded
from app.store import engine as engines
from app.store import keys
from app.store.engine import read, write
from app.store.models import ApiKey
from app.store.scopes import Scope
from tests import servers
from tests.cli.conftest import ANNEALER, Up
from tests.specs import document

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMAND = "annealer keys create --name NAME --owner OWNER --scope admin"


def run(command: list[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        cwd=folder,
        check=False,
    )


@pytest.fixture
def on_keys(database_url: str, tmp_path: Path) -> Run:
    """Runs `annealer keys …` on a database of the test's own."""

    def call(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return run([*ANNEALER, "keys", *arguments], tmp_path, ANNEALER_DATABASE_URL=database_url, **environment)

    return call


def stored(database_url: str) -> list[ApiKey]:
    engine = engines.create(database_url)
    with read(engine) as session:
        found = list(session.scalars(select(ApiKey)).all())
    engine.dispose()
    return found


def make(database_url: str, scope: Scope) -> str:
    engine = engines.create(database_url)
    with write(engine) as session:
        _, text = keys.create(session, name="n", owner="bob", scope=scope)
    engine.dispose()
    return text


def test_a_key_is_made_listed_and_revoked(on_keys: Run, database_url: str) -> None:
    made = on_keys("create", "--name", "laptop", "--owner", "bob", "--scope", "submit", "--expires", "30")
    text = made.stdout.strip()
    (key,) = stored(database_url)
    listed = on_keys("list")
    revoked = on_keys("revoke", key.id)
    (after,) = json.loads(on_keys("list", "--json").stdout)["items"]

    assert (made.returncode, keytext.prefix(text)) == (0, key.prefix)
    assert "not shown again" in made.stderr
    assert key.sha256 == keytext.digest(text)
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).days in (29, 30)
    assert f"ann_{key.prefix} " in listed.stdout
    assert "laptop" in listed.stdout
    assert text.rpartition("_")[2] not in listed.stdout
    assert revoked.stdout == "revoked\n"
    assert after["revoked_at"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--name", "n", "--owner", "-x", "--scope", "read"), "--owner: "),
        (("create", "--name", "n", "--owner", "o", "--scope", "read", "--expires", "0"), "--expires: "),
        (("create", "--name", "n", "--owner", "o", "--scope", "all"), "'read', 'submit', 'admin'"),
        (("first",), "ANNEALER_FIRST_KEY is not set"),
    ],
)
def test_what_cannot_be_is_bad_input_and_makes_no_key(
    on_keys: Run, database_url: str, arguments: tuple[str, ...], said: str
) -> None:
    done = on_keys(*arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert stored(database_url) == []


def test_a_key_that_is_not_there_is_refused(on_keys: Run) -> None:
    done = on_keys("revoke", "key_x")

    assert (done.returncode, done.stderr) == (6, "There is no key key_x.\n")


def test_the_first_key_is_made_once_and_shown_nowhere(on_keys: Run, database_url: str) -> None:
    mine, other = keytext.new(), keytext.new()

    first, again = (on_keys("first", ANNEALER_FIRST_KEY=text) for text in (mine, other))
    (key,) = stored(database_url)
    on_keys("revoke", key.id)
    revived = on_keys("first", ANNEALER_FIRST_KEY=mine)

    assert (key.sha256, key.scope, key.owner) == (keytext.digest(mine), Scope.ADMIN, "default")
    assert [done.returncode for done in (first, again, revived)] == [0, 0, 0]
    assert len(stored(database_url)) == 1
    for done in (first, again, revived):
        assert mine not in done.stdout + done.stderr
        assert other not in done.stdout + done.stderr


def test_a_first_key_that_can_be_guessed_is_refused(on_keys: Run, database_url: str) -> None:
    weak = f"ann_{'a' * 8}_{'a' * 32}"

    done = on_keys("first", ANNEALER_FIRST_KEY=weak)

    assert done.returncode == 2
    assert weak not in done.stderr
    assert stored(database_url) == []


def test_a_folder_without_a_database_is_said(tmp_path: Path) -> None:
    done = run([*ANNEALER, "keys", "list", "--data", "none"], tmp_path)

    assert done.returncode == 2
    assert "There is no service in none: `annealer up --data none`" in done.stderr
    assert not (tmp_path / "none").exists()


def test_others_are_not_let_in_without_a_key(sqlite_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "--host=0.0.0.0", "--port=1"]
    environment = {"ANNEALER_DATABASE_URL": sqlite_url, "ANNEALER_BROKER_URL": "redis://127.0.0.1:1/0"}

    off = run(command, tmp_path, **environment, ANNEALER_KEYS="off")
    none = run(command, tmp_path, **environment)

    assert off.returncode == none.returncode == 1
    assert "ANNEALER_KEYS=off is for this machine alone, and others reach 0.0.0.0" in off.stderr
    assert "Keys are asked for and there is none" in none.stderr
    for done in (off, none):
        assert COMMAND in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_server_that_is_started_otherwise_does_not_start_without_a_key_either(
    sqlite_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create", "--port=1"]
    environment = {"ANNEALER_DATABASE_URL": sqlite_url, "ANNEALER_BROKER_URL": "redis://127.0.0.1:1/0"}

    done = run(command, tmp_path, **environment)

    assert done.returncode != 0
    assert COMMAND in done.stderr


def test_up_asks_for_keys_where_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNEALER_KEYS", "required")
    refused = run([*ANNEALER, "up", "--data", "data", "--port", str(servers.free_port())], tmp_path)
    create = [*ANNEALER, "keys", "create", "--name", "n", "--owner", "bob", "--scope", "submit", "--data", "data"]
    key = run(create, tmp_path).stdout.strip()

    with Up(tmp_path) as up, Client(up.url) as nobody, Client(up.url, key=key) as bob:
        with pytest.raises(KeyNeeded):
            nobody.workers()
        seen = bob.workers()

    assert refused.returncode == 6
    assert f"{COMMAND} --data data" in refused.stderr
    assert [one.alive for one in seen] == [True]


def test_the_client_and_the_command_send_the_key_and_show_it_nowhere(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reads, submits = make(sqlite_url, Scope.READ), make(sqlite_url, Scope.SUBMIT)
    with servers.Api(tmp_path, sqlite_url, "redis://127.0.0.1:1/0", keys="required") as api:
        with Client(api.url, key=submits) as client:
            job = client.submit(document())
        monkeypatch.setenv("ANNEALER_KEY", reads)
        with Client(api.url) as client:
            seen = [found.id for found in client.jobs()]
            with pytest.raises(Forbidden, match="scope submit"):
                client.cancel(job.id)
            shown = repr(client) + repr(vars(client))
        listed = run([*ANNEALER, "list", "--url", api.url], tmp_path)
        refused = run([*ANNEALER, "cancel", job.id, "--url", api.url], tmp_path)
        without = run([*ANNEALER, "list", "--url", api.url], tmp_path, ANNEALER_KEY="")
        logged = caplog.text
        in_path = httpx.get(f"{api.url}/v1/jobs/{submits}")
    log = api.log.read_text()

    assert (job.owner, seen) == ("bob", [job.id])
    assert job.id in listed.stdout
    assert (refused.returncode, without.returncode, in_path.status_code) == (6, 6, 401)
    assert "Authorization: Bearer" in without.stderr
    for key in (reads, submits):
        secret = key.rpartition("_")[2]
        for told in (shown, log, logged, *(done.stdout + done.stderr for done in (listed, refused, without))):
            assert secret not in told
    assert f"/v1/jobs/ann_{keytext.prefix(submits)}_…" in log
    assert f'"key": "{keytext.prefix(submits)}"' in log


@pytest.mark.parametrize("key", ["secret", "ann_1_2", "ann_12345678_abcdefghijklmnopqrstuvwxyzABCDEF x", "ann_ä"])
def test_what_is_no_key_is_not_sent_and_not_shown(key: str) -> None:
    with pytest.raises(ClientError) as refusal:
        Client(key=key)

    assert key not in str(refusal.value)


def test_a_key_does_not_follow_to_another_server(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.host == "here":
            return httpx.Response(307, headers={"Location": "http://elsewhere/v1/workers"})
        return httpx.Response(200, json={"items": [], "waiting": {}})

    client = Client("http://here", key=keytext.new())
    client._http._transport = httpx.MockTransport(answer)
    client.workers()
    client.close()

    assert ["Authorization" in request.headers for request in seen] == [True, False]
