"""Requests that no client should send, drawn from a seed: valid ones with something broken in body, head or framing.

Every kind breaks its request for certain, so that an answer of success means that the server was fooled.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes

from tests.specs import document

JSON_HEADERS = {"Content-Type": "application/json"}
NAMES = ("job_x", "snap_x", "victim")
HOSTILE_TEXT = (
    b"\x00",
    b"%00",
    b"..%2f..%2fetc%2fpasswd",
    b"%ff%fe",
    b"%ed%a0%80",
    b"' OR 1=1 --",
    b"{{7*7}}",
    b"\xff\xfe",
    b"a" * 5000,
    b"%0d%0aSet-Cookie:x",
    b"-1",
    b"9" * 400,
    b"1e999",
    b"NaN",
    b"%F0%9F%92%A9",
    b"*",
    b"\x1b[31m",
    b"%",
)


PATHS = [
    "/v1/jobs/{}",
    "/v1/jobs/{}/events",
    "/v1/jobs/{}/logs",
    "/v1/jobs/{}/cancel",
    "/v1/jobs/{}/retry",
    "/v1/{}",
    "/v1/jobs/{}/metrics",
    "/v1/snapshots/{}/weights",
    "/v1/ensembles/{}",
    "/v1/datasets/{}",
    "/{}",
    "/docs/{}",
    "/v1/keys/{}",
    "/v1/jobs/{}/layers",
]
LENGTHS = [
    "-1",
    "x",
    "",
    "9" * 30,
    "1e3",
    "0x10",
    "+5",
    "5, 5",
    "5\r\nContent-Length: 6",
    "5\r\nTransfer-Encoding: chunked",
    "99999999999",
    "1",
]
CHUNKS = [
    b"x\r\n",
    b"-1\r\n",
    b"ffffffffffffffffff\r\n",
    b"5\r\nabc\r\n0\r\n\r\n",
    b"5;" + b"e" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"0\r\n" + b"".join(b"T-%d: y\r\n" % number for number in range(5_000)) + b"\r\n",
    b"1\r\n[\r\n" * 3000 + b"0\r\n\r\n",
    b"0\n\n",
]
HEADER_VALUES = [
    b"bytes=0-",
    b"bytes=-0",
    b"bytes=9-3",
    b"bytes=0-0,2-3",
    b"bytes=\xb2-",
    b"bytes=" + b"1" * 60 + b"-",
    b"wait=\xb2",
    b"wait=0.5",
    b"wait=-1",
    b"wait=" + b"0" * 5000,
    b"wait",
    b"wait=,wait=",
    b'"',
    b'W/"',
    b"\xb9",
    b",".join([b'"x"'] * 4000),
    b"\xd9\xa3",
    b"1" * 16,
    b"-0",
    b"text/event-stream;q=x",
]
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n" * 5000,
    b"\x00" * 5000,
    b"GET",
    b"SSH-2.0-x\r\n",
    b"*3\r\n$3\r\nSET\r\n",
]


@dataclass(frozen=True)
class Attack:
    """Bytes for one connection. `refused`: success would be wrong. `mute`: the connection may end without an answer."""

    kind: str
    data: bytes
    refused: bool = True
    mute: bool = False
    half_closed: bool = False


class Attacker:
    """Draws attacks on a server whose jobs are `victims`, with the headers that open it."""

    def __init__(self, seed: int, host: str, victims: list[str], snapshots: list[str], key: str) -> None:
        self._dice = random.Random(seed)
        self._usual = {"Host": host, "Authorization": f"Bearer {key}"}
        self._victims = victims
        self._snapshots = snapshots
        self._kinds: list[Callable[[], Attack]] = [
            *(self._body, self._body, self._body, self._flipped, self._small_body, self._content_type),
            *(self._path, self._query, self._header, self._header, self._length, self._chunks),
            *(self._head, self._garbage, self._cut_off, self._pipelined, self._authorization),
        ]

    def draw(self) -> Attack:
        """The next attack."""
        return self._dice.choice(self._kinds)()

    # Bodies.

    def _body(self) -> Attack:
        name, body = self._broken(document(labels={"team": "a"}, seed=7, augmentation=[{"kind": "random_crop"}]))
        path = self._dice.choice(["/v1/jobs", "/v1/jobs:validate"])
        return Attack(f"body: {name}", self._request("POST", path, body=body))

    def _flipped(self) -> Attack:
        """Any byte may become any other: only for what stores nothing, since it may still be right."""
        body = bytearray(json.dumps(document()).encode())
        for _ in range(self._dice.randint(1, 8)):
            body[self._dice.randrange(len(body))] = self._dice.randrange(256)
        return Attack(
            "body: flipped bytes", self._request("POST", "/v1/jobs:validate", body=bytes(body)), refused=False
        )

    def _small_body(self) -> Attack:
        whole: dict[str, Any] = {"name": "x", "owner": "a", "scope": "read"}
        path, whole = self._dice.choice([("/v1/keys", whole), (f"/v1/jobs/{self._victim}/retry", {"from": "start"})])
        name, body = self._broken(whole)
        return Attack(f"small body: {name}", self._request("POST", path, body=body))

    def _content_type(self) -> Attack:
        kind = self._dice.choice(
            ["text/plain", "", "application/xml", "multipart/form-data; boundary=x", "\xe9", "a/b" * 500]
        )
        body = json.dumps(document()).encode()
        return Attack("content type", self._request("POST", "/v1/jobs", {"Content-Type": kind}, body))

    def _broken(self, value: dict[str, Any]) -> tuple[str, bytes]:
        """A document that was right, as bytes that are not, and what was done to it."""
        at = self._dice.choice(list(value))
        whole = json.dumps(value)
        member = f"{json.dumps(at)}: {json.dumps(value[at])}"
        nest = self._dice.choice(["[", '{"a":'])
        depth = self._dice.choice([33, 200, 2_000, 100_000])
        digits = "9" * self._dice.choice([30, 400, 5_000, 100_000])
        bad = self._dice.choice(
            ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "+1", "0x1", "1_0", digits, f"-{digits}"]
        )
        text = self._dice.choice(["\\ud800", "\\udfff\\ud800", "\\u0000", "\\u001b[2J", "\\x41", "a\nb", "\u0000"])
        broken = {
            "nested deeply": whole.replace(member, f"{json.dumps(at)}: {nest * depth}"),
            "nested deeply and closed": whole.replace(member, f"{json.dumps(at)}: {'[' * depth}{']' * depth}"),
            "a key twice": whole[:-1] + f", {member}}}",
            "a key of many": whole[:-1] + "".join(f', "k{number}": 1' for number in range(depth % 9000)) + "}" + "x",
            "no number": whole.replace(member, f"{json.dumps(at)}: {bad}"),
            "no text": whole.replace(member, f'{json.dumps(at)}: "{text}"'),
            "a key that is no text": whole[:-1] + f', "{text}": 1}}',
            "an unknown key": whole[:-1] + f', "{"k" * self._dice.choice([1, 300, 100_000])}": null}}',
            "another kind of value": whole.replace(member, f"{json.dumps(at)}: {self._another(value[at])}"),
            "cut off": whole[: self._dice.randrange(1, len(whole))],
            "more after the end": whole + self._dice.choice(["x", "{}", ",", "\\", "]"]),
            "a name without end": whole.replace(member, f'{json.dumps(at)}: "{"n" * 300_000}"'),
            "not the object": self._dice.choice(["null", "[]", "1", '"x"', "true", "[" + whole + "]"]),
        }
        name = self._dice.choice([*broken, "invalid UTF-8", "a mark", "UTF-16", "too large"])
        if name == "invalid UTF-8":
            place = self._dice.randrange(1, len(whole))
            return name, whole[:place].encode() + self._dice.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"]) + whole[
                place:
            ].encode()
        if name == "a mark":
            return name, b"\xef\xbb\xbf" + whole.encode()
        if name == "UTF-16":
            return name, whole.encode("utf-16")
        if name == "too large":
            return name, whole.encode() + b" " * 1_200_000
        return name, broken[name].encode(errors="surrogatepass")

    def _another(self, value: Any) -> str:
        choices = ["[[]]", '{"kind": 1}', '{"kind": null}', "true", "-1.5e300"]
        return self._dice.choice([choice for choice in choices if not (isinstance(value, bool) and choice == "true")])

    # Heads.

    def _path(self) -> Attack:
        text = (
            quote_from_bytes(self._text(), safe="%*'()")
            if self._dice.random() < 0.7
            else self._text().decode("latin-1")
        )
        path = self._dice.choice(PATHS)
        method = self._dice.choice(["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE"])
        return Attack("path", self._request(method, path.format(text)), mute=True)

    def _query(self) -> Attack:
        path, names = self._dice.choice(
            [
                ("/v1/jobs", ["status", "name", "label", "dataset", "sort", "limit", "cursor", "x"]),
                (f"/v1/jobs/{self._victim}/events", ["after", "limit", "x"]),
                (f"/v1/jobs/{self._victim}/logs", ["tail", "offset", "limit", "format"]),
                (f"/v1/jobs/{self._victim}/metrics", ["series", "from_step", "to_step", "max_points", "format"]),
                (f"/v1/jobs/{self._victim}/layers", ["epoch"]),
            ]
        )
        pairs = [
            f"{self._dice.choice(names)}={quote_from_bytes(self._text(), safe='%')}"
            for _ in range(self._dice.choice([1, 2, 300]))
        ]
        return Attack("query", self._request("GET", f"{path}?{'&'.join(pairs)}"), refused=False, mute=True)

    def _header(self) -> Attack:
        name, path = self._dice.choice(
            [
                ("Range", f"/v1/snapshots/{self._snapshot}/weights"),
                ("If-Range", f"/v1/snapshots/{self._snapshot}/weights"),
                ("If-None-Match", f"/v1/snapshots/{self._snapshot}/weights"),
                ("If-None-Match", f"/v1/jobs/{self._victim}"),
                ("Last-Event-ID", f"/v1/jobs/{self._victim}/logs"),
                ("Last-Event-ID", f"/v1/jobs/{self._victim}/events"),
                ("Prefer", f"/v1/jobs/{self._victim}"),
                ("X-Request-ID", "/v1/workers"),
                ("X-Forwarded-For", "/v1/workers"),
                ("X-Forwarded-Proto", "/v1/workers"),
                ("Accept", "/v1/workers"),
                ("Cookie", "/v1/workers"),
            ]
        )
        value = self._dice.choice([*HEADER_VALUES, self._plain_text()])
        return Attack(f"header: {name}", self._request("GET", path, {name: value.decode("latin-1")}), refused=False)

    def _authorization(self) -> Attack:
        value = self._dice.choice(
            [b"", b"Bearer", b"Bearer \xff", b"Bearer ann_" + b"x" * 5000, b"Basic eA==", b"Bearer a b c"]
        )
        method, path = self._dice.choice(
            [("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("POST", "/v1/keys"), ("GET", "/metrics")]
        )
        return Attack("authorization", self._request(method, path, {"Authorization": value.decode("latin-1")}, b"{}"))

    def _head(self) -> Attack:
        good = self._request("GET", "/v1/jobs")
        first, rest = good.split(b"\r\n", 1)
        long = self._dice.choice([70_000, 300_000])
        heads = {
            "a long address": b"GET /" + b"a" * long + b" HTTP/1.1\r\n" + rest,
            "a long header": first + b"\r\nX: " + b"x" * long + b"\r\n" + rest,
            "many headers": first + b"\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)) + rest,
            "no method": b" /v1/jobs HTTP/1.1\r\n" + rest,
            "a method of its own": first.replace(b"GET", b"\x00GET") + b"\r\n" + rest,
            "another protocol": b"GET /v1/jobs HTTP/3.7\r\n" + rest,
            "a header without a colon": first + b"\r\nnonsense\r\n" + rest,
            "a header with a zero": first + b"\r\nX: a\x00b\r\n" + rest,
            "a header with a space": first + b"\r\nX Y: z\r\n" + rest,
            "an address with a space": b"GET /v1/jobs x HTTP/1.1\r\n" + rest,
            "a raw address": b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\n" + rest,
            "no host that makes sense": b"GET http://[::1/ HTTP/1.1\r\n" + rest,
        }
        kind = self._dice.choice(list(heads))
        return Attack(f"head: {kind}", heads[kind], mute=kind in ("a long address", "a long header", "many headers"))

    # Framing.

    def _length(self) -> Attack:
        value = self._dice.choice(LENGTHS)
        body = self._broken(document())[1][:2000]
        path = self._dice.choice(["/v1/jobs", "/v1/jobs:validate", "/v1/nothing"])
        head = self._request("POST", path, JSON_HEADERS | {"Content-Length": value})
        return Attack("length", head + body, mute=True, half_closed=True)

    def _chunks(self) -> Attack:
        chunks = self._dice.choice(CHUNKS)
        head = self._request("POST", "/v1/jobs", JSON_HEADERS | {"Transfer-Encoding": "chunked"})
        return Attack("chunks", head + chunks, mute=True, half_closed=self._dice.random() < 0.5)

    def _garbage(self) -> Attack:
        data = self._dice.choice([*GARBAGE, self._dice.randbytes(self._dice.randint(1, 3000))])
        return Attack("garbage", data, mute=True, half_closed=True)

    def _cut_off(self) -> Attack:
        """The client promises a whole body, sends a part and says that it has finished."""
        body = json.dumps(document()).encode()
        whole = self._request("POST", self._dice.choice(["/v1/jobs", "/v1/jobs/job_x/retry"]), body=body)
        end = self._dice.randrange(1, len(whole))
        return Attack("cut off", whole[:end], mute=True, half_closed=True)

    def _pipelined(self) -> Attack:
        count = self._dice.choice([3, 20, 200])
        return Attack("pipelined", self._request("GET", "/v1/jobs/job_x") * count + b"\x00garbage", mute=True)

    # Parts.

    @property
    def _victim(self) -> str:
        return self._dice.choice(self._victims)

    @property
    def _snapshot(self) -> str:
        return self._dice.choice(self._snapshots)

    def _text(self) -> bytes:
        return self._dice.choice([*HOSTILE_TEXT, self._dice.randbytes(self._dice.randint(1, 40))])

    def _plain_text(self) -> bytes:
        """What a header may hold."""
        return bytes(byte for byte in self._text() if byte >= 0x20 and byte != 0x7F)

    def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        every = self._usual | (JSON_HEADERS if body is not None else {}) | dict(headers or {})
        if body is not None:
            every.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1", errors="replace") + (body or b"")
