"""What stands between the page and its viewers' browsers, where `run` serves it."""

from __future__ import annotations

import asyncio
import re
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_cli_run import fetch, served

from playground import guard
from playground.guard import Guard, dress, why_refused
from playground.guard_variables import HOST_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"here.example", "rare.example:8443"}
PAGE = b"<html><script>1</script><script src=x></script></html>"


def headers(host: str, origin: str | None = None) -> list[tuple[bytes, bytes]]:
    given = [(b"host", host.encode())]
    return given if origin is None else [*given, (b"origin", origin.encode())]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:2718", None),
        ("127.0.0.1:2718", "http://127.0.0.1:2718"),
        ("[::1]:2718", "http://[::1]:2718"),
        ("localhost:2718", "http://localhost:2718"),
        ("here.example", "https://here.example"),
        ("HERE.example:443", "https://here.EXAMPLE:443"),
        ("rare.example:8443", "https://rare.example:8443"),
        ("127.0.0.1:2718", "https://rare.example:8443"),
        ("127.0.0.1:2718", "https://here.example"),  # by a proxy that asks by number
    ],
)
def test_who_asks_by_a_name_of_this_server_from_a_page_of_it_is_answered(host, origin):
    assert why_refused(headers(host, origin), "127.0.0.1", NAMES) == ""


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", None),
        ("evil.example:2718", "http://evil.example:2718"),
        ("127.0.0.1.evil.example", None),
        ("", None),
        ("[::1", None),
        ("127.0.0.1:2718", "http://evil.example"),
        ("127.0.0.1:2718", "http://127.0.0.1:8000"),
        ("127.0.0.1:2718", "http://localhost:8000"),
        ("127.0.0.1:2718", "null"),
        ("127.0.0.1:2718", ""),
        ("127.0.0.1:2718", "http://here.example.evil.example"),
        ("127.0.0.1:2718", "https://here.example:8000"),
        ("127.0.0.1:2718", "https://rare.example"),
        ("127.0.0.1:2718", "http://[::1"),
        ("127.0.0.1:2718", "file://127.0.0.1:2718"),
    ],
)
def test_a_foreign_name_and_a_foreign_page_are_refused(host, origin):
    assert why_refused(headers(host, origin), "127.0.0.1", NAMES)


def answer(application, scope: dict) -> list[dict]:
    """Return what is sent to whoever asks so."""
    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(dict(message))

    async def receive() -> dict:
        return {"type": "http.request"}

    # A browser's test leaves its loop running in the thread that it used.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(application(scope, receive, send))).result()
    return sent


async def show_page(_scope, _receive, send) -> None:
    """Answer with a page in two pieces."""
    given = [(b"content-type", b"text/html"), (b"content-length", b"54"), (b"etag", b"x")]
    await send({"type": "http.response.start", "status": 200, "headers": given})
    await send({"type": "http.response.body", "body": PAGE[:20], "more_body": True})
    await send({"type": "http.response.body", "body": PAGE[20:]})


def ask(monkeypatch, served_as: str | None, scope_type: str = "http", host: str = "127.0.0.1"):
    if served_as is None:
        monkeypatch.delenv(HOST_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(HOST_VARIABLE, served_as)
    return answer(Guard(show_page), {"type": scope_type, "headers": headers(host)})


def test_a_server_that_run_did_not_start_is_left_alone(monkeypatch):
    sent = ask(monkeypatch, None, host="evil.example")
    assert b"".join(one.get("body", b"") for one in sent) == PAGE
    assert sent[0]["headers"][-1] == (b"etag", b"x")


def test_each_script_of_a_page_carries_the_nonce_of_its_policy_and_no_browser_keeps_it(monkeypatch):
    answers = [ask(monkeypatch, "127.0.0.1") for _ in range(2)]
    nonces = set()
    for start, body in answers:
        said = dict(start["headers"])
        nonce = re.search(rb"'nonce-([\w-]{20,})'", said[b"content-security-policy"])[1]
        assert body["body"].count(b"<script nonce=" + nonce) == 2 == body["body"].count(b"<script")
        assert said[b"content-length"] == str(len(body["body"])).encode()
        assert said[b"cache-control"] == b"no-store" and b"etag" not in said
        nonces.add(nonce)
    assert len(nonces) == 2


def test_the_policy_allows_no_foreign_server_and_no_script_of_a_name(monkeypatch):
    said = dict(ask(monkeypatch, "127.0.0.1")[0]["headers"])[b"content-security-policy"].decode()
    assert said.startswith("default-src 'none'; ")
    scripts = re.search(r"script-src ([^;]*)", said)[1].split()
    assert scripts[0] == "'self'" and scripts[1].startswith("'nonce-") and len(scripts) == 2
    assert "http" not in said and "*" not in said and "unsafe-eval" not in said


def test_a_foreign_name_gets_a_sentence_and_a_websocket_no_connection(monkeypatch):
    start, body = ask(monkeypatch, "127.0.0.1", host="evil.example")
    assert start["status"] == 403
    assert b"not known as 'evil.example': start it with --allow-host" in body["body"]
    (closed,) = ask(monkeypatch, "127.0.0.1", "websocket", "evil.example")
    assert closed["type"] == "websocket.close"


def test_a_page_says_no_place_of_a_file_on_this_machine():
    folder, root = str(ROOT / "playground"), str(ROOT)
    quoted = folder.replace("/", "%2F")
    page = (
        f'{{"filename": "{folder}/quantization.py", "cwd": "{folder}", "root": "file://{root}", '
        f'"id": "{quoted}%2Fquantization.py", "other": "{root}-other/x", "at": "x{root}/y"}}'
    )
    assert dress(page.encode(), "n").decode() == (
        '{"filename": "quantization.py", "cwd": "", "root": "", '
        f'"id": "quantization.py", "other": "{root}-other/x", "at": "x{root}/y"}}'
    )


def test_a_folder_that_is_the_whole_disk_takes_nothing_from_a_page():
    places = guard._match_places([Path("/")])
    assert places.sub(b"", b"<a href=./x/y>") == b"<a href=./x/y>"


# The server itself --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text("a-token-for-this-test")
    return path


@pytest.fixture(scope="module")
def address(token):
    with served("--token-password-file", str(token), "--allow-host", "here.example") as url:
        yield url


def shake_hands(address: str, **said: str) -> int:
    """Return the status of an attempt to open the page's websocket."""
    host, port = address.removeprefix("http://").strip("/").split(":")
    given = {
        "Host": f"{host}:{port}", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13", **said,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    path = "/ws?session_id=s_test&access_token=a-token-for-this-test"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return int(connection.recv(1000).split()[1])


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_websocket_of_a_foreign_page_is_refused(address, origin):
    assert shake_hands(address, Origin=origin) == 403


def test_a_websocket_by_a_foreign_name_is_refused(address):
    assert shake_hands(address, Host="evil.example") == 403


@pytest.mark.parametrize("own", [True, False])
def test_a_websocket_of_the_page_itself_or_of_no_page_is_opened(address, own):
    said = {"Origin": address.strip("/")} if own else {}
    assert shake_hands(address, **said) == 101


def test_a_proxys_name_is_answered_where_it_was_allowed(address):
    assert shake_hands(address, Host="here.example", Origin="https://here.example") == 101


def test_the_page_of_the_server_holds_no_place_of_a_file(address):
    page = fetch(f"{address}?access_token=a-token-for-this-test")
    assert "quantization.py" in page
    assert str(ROOT) not in page and str(ROOT).replace("/", "%2F") not in page


@pytest.mark.parametrize("path", ["", "login", "assets/none.js", "api/version", "@file/none"])
def test_an_answer_to_who_has_no_token_holds_no_place_of_a_file(address, path):
    try:
        with urllib.request.urlopen(address + path) as shown:
            said = shown.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            said = refusal.read().decode()
    assert str(ROOT) not in said and "a-token-for-this-test" not in said
