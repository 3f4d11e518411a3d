"""Access control of the page's server: only this machine's own page, by its token."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """An ASGI application that passes on requests with the token at the head of their path.

    It refuses another Host (a name that was made to point at this machine), another Origin, requests that the browser
    marks as another site's, and a wrong token. The token is removed from the path that the application sees.

    Args:
        app: the application behind it.
        token: that the address must hold.
        port: that the server listens on.
    """

    def __init__(self, app: App, token: str, port: int) -> None:
        self.app, self.token = app, token.encode()
        self.hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
        self.origins = {b"http://" + host for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        reason = self.refusal(scope)
        if reason is not None:
            start = {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
            await send_with_headers(start)
            await send_with_headers({"type": "http.response.body", "body": reason.encode()})
            return
        await self.app(
            {**scope, "path": "/" + scope["path"].partition("/")[2].partition("/")[2]}, receive, send_with_headers
        )

    def refusal(self, scope: Scope) -> str | None:
        """Return why a request is refused, or None."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        if len(headers.get(b"host", ())) != 1 or headers[b"host"][0] not in self.hosts:
            return "refused: this server answers to 127.0.0.1 only"
        if not set(headers.get(b"origin", ())) <= self.origins:
            return "refused: the request comes from another origin"
        opens_page = scope["method"] == "GET" and headers.get(b"sec-fetch-dest") == [b"document"]
        if not set(headers.get(b"sec-fetch-site", ())) <= {b"same-origin", b"none"} and not opens_page:
            return "refused: the request comes from another site"
        given = scope["path"].split("/")[1] if scope["path"].count("/") >= 2 else ""
        if not secrets.compare_digest(given.encode(), self.token):
            return "refused: the address must hold the token that cpm-fast label printed"
        return None
