"""What stands between the page and its viewers' browsers, where `run` serves it.

The page is given to those who ask for it by a name of this server, and what it shows can make a
browser ask no other one. marimo takes this from the entry point `marimo.server.asgi.middleware`,
for every server of this environment: it stays out of the way of all that `run` did not start.

Source: the ASGI specification 3.0; Content Security Policy Level 3.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping, Set
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware

from .guard_variables import HOST_VARIABLE, NAMES_VARIABLE, SAID_VARIABLE

_FOLDERS = Path(__file__).resolve().parents[:2]
_POLICY = """
    default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline';
    img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:;
    manifest-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'
"""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Guard:
    """Refuses who asks by a foreign name or from a foreign page; adds the policy to the rest."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._host = os.environ.get(HOST_VARIABLE)
        self._names = frozenset(os.environ.get(NAMES_VARIABLE, "").lower().split())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self._host is None or scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
        elif why := why_refused(scope["headers"], self._host, self._names):
            await _refuse(scope, send, why)
        elif scope["type"] == "websocket":
            await self._application(scope, receive, send)
        else:
            await self._application(scope, receive, _Answer(send))


def why_refused(headers: Headers, served_as: str, names: Set[str] = frozenset()) -> str:
    """Return why a request is refused, or nothing.

    Args:
        names: what the page is asked for by besides, with a port where it is a rare one.

    A page of another server that had its name point here would ask by that name: only numbers and
    the names of this server are answered. What another page sends says where that is from.
    """
    said = {name.lower(): value.decode("latin1") for name, value in headers}
    host, origin = said.get(b"host", "").lower(), said.get(b"origin")
    name = _name_of(host)
    if not _is_known(name, {"localhost", served_as.lower(), *map(_name_of, names)}):
        return f"This server is not known as {name!r}: start it with --allow-host {name}"
    # A proxy may ask by another name than its viewers do.
    if origin is None or _place_of(origin) in {host, *names}:
        return ""
    return f"A page of {origin!r} asks for this one"


def _name_of(host: str) -> str:
    """Return a host without its port; nothing where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # a bracket without end
        return ""


def _place_of(origin: str) -> str | None:
    """Return the host of an address of the web, with its port."""
    try:
        address = urlsplit(origin.lower())
    except ValueError:
        return None
    return address.netloc if address.scheme in ("http", "https") and address.netloc else None


def _is_known(name: str, names: Set[str]) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


async def _refuse(scope: Message, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted: the server answers 403.
        await send({"type": "websocket.close", "code": 1008, "reason": why[:100]})
        return
    body = f"{why}.\n".encode("ascii", "backslashreplace")
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Answer:
    """One answer on its way: a page is kept until it is whole, and dressed; others pass."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._nonce = secrets.token_urlsafe(18)
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *self._policy()]
            if _is_page(message["headers"]):
                self._start = message
                return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = dress(self._body, self._nonce)
        start["headers"] = _for_a_page(start["headers"], len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _policy(self) -> Headers:
        policy = " ".join(_POLICY.format(nonce=self._nonce).split())
        return [
            (b"content-security-policy", policy.encode()),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]


def _is_page(headers: Headers) -> bool:
    return any(n.lower() == b"content-type" and v.startswith(b"text/html") for n, v in headers)


def _for_a_page(headers: Headers, length: int) -> Headers:
    """Return the headers of a page with a nonce of its own: no browser may keep it."""
    replaced = (b"content-length", b"etag", b"cache-control")
    kept = [(name, value) for name, value in headers if name.lower() not in replaced]
    return [*kept, (b"content-length", str(length).encode()), (b"cache-control", b"no-store")]


def dress(page: bytes, nonce: str) -> bytes:
    """Return a page whose scripts carry the nonce, without the places of files on this machine."""
    page = _PLACES.sub(b"", page)
    # Without quotes: in a text of a script it must not end that text.
    return page.replace(b"<script", f"<script nonce={nonce}".encode())


def _match_places(folders: Iterable[Path]) -> re.Pattern[bytes]:
    """Return what matches the folders of the page, the inner one first, as marimo spells them."""
    spelled = (
        re.escape(form)
        for folder in (str(one) for one in folders if one.name)
        for form in dict.fromkeys((folder, json.dumps(folder)[1:-1], quote(folder, safe="")))
    )
    separator = r"(?:/|%2F|\\\\?|(?![\w.%-]))"
    return re.compile(rf"(?<![\w.])(?:file://)?(?:{'|'.join(spelled)}){separator}".encode())


_PLACES = _match_places(_FOLDERS)


@asynccontextmanager
async def announce(application: Starlette) -> AsyncIterator[None]:
    """Say where the page is, and nothing of its token, where marimo is told to be quiet."""
    said = os.environ.get(SAID_VARIABLE)
    if not said:
        yield
        return
    task = asyncio.create_task(_say_when_open(application.state.host, application.state.port, said))
    yield
    task.cancel()


async def _say_when_open(host: str, port: int, said: str) -> None:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    while True:
        try:
            _, writer = await asyncio.open_connection(anywhere.get(host, host), port)
            break
        except OSError:  # not yet
            await asyncio.sleep(0.02)
    writer.close()
    address = f"[{host}]" if ":" in host else host
    print(f"The page is at http://{address}:{port}; {said}", flush=True)


MIDDLEWARE = Middleware(Guard)
