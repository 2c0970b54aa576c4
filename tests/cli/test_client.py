"""The Python client: its errors, its patience, its downloads."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.client import Client, ClientError, Invalid, NotFound, ProblemError, Refused, TooMany, Unreachable
from tests.cli.conftest import Up
from tests.specs import document


def test_what_is_invalid_is_told_with_its_places(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        client.submit(document(epochs=0))

    assert [place.pointer for place in caught.value.problem.errors] == ["/epochs"]
    assert caught.value.problem.request_id


def test_what_is_not_there_and_what_is_refused_are_errors_of_their_own(client: Client) -> None:
    with pytest.raises(NotFound):
        client.job("job_x")
    job = client.submit(document(epochs=9000))
    with pytest.raises(Refused) as caught:
        client.delete(job.id)
    client.cancel(job.id)

    assert caught.value.problem.to == "deleted"
    list(client.watch(job.id))


def test_no_answer_is_unreachable() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        client.datasets()


def test_a_plan_is_typed(client: Client) -> None:
    plan = client.validate(document())

    assert plan.snapshot_epochs == [2, 4]
    assert plan.layers[1].weights == 12544


def test_jobs_of_all_pages_are_found(client: Client) -> None:
    for _ in range(3):
        client.submit(document(name="many", epochs=2))

    assert len(list(client.jobs(name="many"))) == 3
    assert len(list(client.jobs(name="many", limit=2))) == 2


@contextmanager
def flaky(upstream_port: int, *cuts: int | None) -> Iterator[str]:
    """A proxy that cuts the answers of its first connections after so many bytes (None: not at all), then is sound."""
    server = socket.create_server(("127.0.0.1", 0))
    left = list(cuts)

    def serve() -> None:
        with suppress(OSError):
            while True:
                line, _ = server.accept()
                cut = left.pop(0) if left else None
                threading.Thread(target=forward, args=(line, cut), daemon=True).start()

    def forward(line: socket.socket, cut: int | None) -> None:
        with line, socket.create_connection(("127.0.0.1", upstream_port)) as upstream, suppress(OSError):
            threading.Thread(target=ask, args=(line, upstream), daemon=True).start()
            sent = 0
            while (data := upstream.recv(65536)) and (cut is None or sent < cut):
                piece = data if cut is None else data[: cut - sent]
                line.sendall(piece)
                sent += len(piece)
            # Closing alone would wait for the thread that reads from the line.
            line.shutdown(socket.SHUT_RDWR)

    def ask(line: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := line.recv(65536):
                # One request a connection, so that each cut meets a request.
                upstream.sendall(data.replace(b"keep-alive", b"close"))

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()


def test_a_submit_is_sent_again_and_done_once(up: Up, client: Client) -> None:
    with flaky(up.port, 0, 0) as url, Client(url) as shaky:
        job = shaky.submit(document(name="sent again", epochs=2))

    assert [found.id for found in client.jobs(name="sent again")] == [job.id]


def test_watching_survives_a_connection_that_breaks(up: Up, client: Client) -> None:
    job = client.submit(document(network={"kind": "convnet", "channels": [8]}, epochs=8))

    with flaky(up.port, None, 400, 400, 400) as url, Client(url) as shaky:
        *_, last = shaky.watch(job.id)

    assert last.status == "succeeded"


def test_a_broken_download_goes_on_where_it_broke(up: Up, client: Client, tmp_path: Path) -> None:
    job = client.submit(document(network={"kind": "mlp", "hidden": [512]}, epochs=2))
    list(client.watch(job.id))
    taken = client.snapshots(job.id)[0]
    assert taken.size > 1_000_000

    with flaky(up.port, 500_000, 500_000) as url, Client(url) as shaky:
        shaky.download(taken, tmp_path / "file")
    client.download(taken, tmp_path / "again")

    assert (tmp_path / "file").read_bytes() == (tmp_path / "again").read_bytes()
    assert not (tmp_path / "file.partial").exists()


def test_a_download_that_arrives_damaged_is_refused(client: Client, tmp_path: Path) -> None:
    job = client.submit(document(epochs=2))
    list(client.watch(job.id))
    taken = client.snapshots(job.id)[0].model_copy(update={"sha256": "0" * 64})

    with pytest.raises(ClientError, match="damaged"):
        client.download(taken, tmp_path / "file")

    assert list(tmp_path.iterdir()) == []


def test_an_answer_of_something_else_is_a_problem_too(tmp_path: Path) -> None:
    class Foreign(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(502, "Bad Gateway")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client, pytest.raises(ProblemError) as caught:
            client.datasets()

    assert caught.value.problem.status == 502


def test_too_many_requests_are_an_error_with_the_time_to_wait_and_a_submit_waits(tmp_path: Path) -> None:
    asked = []

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(429)
            self.send_header("Retry-After", "1" if len(asked) == 1 else "3600")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client, pytest.raises(TooMany) as caught:
            client.submit(document())
        server.shutdown()

    assert caught.value.retry_after == 3600
    assert len(asked) == 2
