"""Who may ask: the name under which the studio is asked, where a request comes from, and the token.

Any page that a browser shows can send requests to this machine. Three things keep it out. Its name may be made to lead here
(DNS rebinding): only names of this machine are answered. It may ask across sites: what a browser says of a request's origin has
to be the studio's own. And where others than this machine can reach the studio, a token has to be known.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from limner.studio.settings import Settings, is_loopback

LARGEST_BODY = 1 << 20
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self' blob: data:; worker-src 'self' blob:; font-src 'self'; manifest-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""On every answer that has no such header of its own. The two ``cross-origin`` ones let WebAssembly use threads."""
_SAFE = ("GET", "HEAD", "OPTIONS")
_ANYWHERE = ("0.0.0.0", "::")


class Guard:
    """ASGI middleware around the whole studio.

    Args:
        app: what it guards.
        settings: the host and the token.
    """

    def __init__(self, app: Any, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the studio has no web sockets; closing one that was not accepted refuses it
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _answer(send, refused[0], {"detail": refused[1]})
            return
        if self.settings.token is not None:
            # Cookies go to every port of a host: each studio there has one of its own, whose value is of no use for another.
            # The port that the browser knows: a container's own may be another.
            port = _port(headers["host"], scope["scheme"])
            name, proof = f"limner-studio-{port}", _proof(self.settings.token, port)
            entered, place = self._enter(scope)
            if entered and scope["method"] == "GET":
                cookie = f"{name}={proof}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
                await _answer(send, 303, None, (("location", place), ("set-cookie", cookie)))
                return
            if not (entered or self._known(headers, name, proof)):
                words = "a token is needed: open the address that 'limner studio' printed"
                await _answer(send, 401, {"detail": words}, (("www-authenticate", "Bearer"),))
                return
        await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Why a request is not answered, with the status to say so."""
        host = headers.get("host", "")
        if [name for name, _ in scope["headers"]].count(b"host") != 1 or not self._is_ours(host):
            return 421, "this studio is not known by that name; open the address that 'limner studio' printed"
        origin = headers.get("origin")
        if origin is not None and not _same_place(origin, host, scope["scheme"]):
            return 403, "requests from other pages are refused"
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
        if site not in ("same-origin", "none") and not (scope["method"] == "GET" and mode == "navigate"):
            return 403, "requests from other pages are refused"
        if scope["method"] not in _SAFE:
            length = headers.get("content-length", "")
            if "transfer-encoding" in headers or (length and not length.isdecimal()):
                return 411, "a request says how long it is"
            if length and int(length) > LARGEST_BODY:
                return 413, f"over {LARGEST_BODY:,} bytes are no request of the studio's"
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this studio. Addresses are fine: a page that was rebound is asked for by its name."""
        name = _host_name(host)
        if name is None:
            return False
        if self.settings.is_local:
            return is_loopback(name)
        if _address(name) is not None:
            return True
        return name in {"localhost", self.settings.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}

    def _enter(self, scope: Mapping[str, Any]) -> tuple[bool, str]:
        """Whether the address has the right token, and the address without it."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # The path as it came: a browser takes what begins with two slashes for another host.
        path = "/" + scope.get("raw_path", b"/").decode("latin-1").lstrip("/\\")
        path = "".join(letter for letter in path if letter.isprintable() and letter.isascii())
        right = any(hmac.compare_digest(value.encode(), (self.settings.token or "").encode()) for value in given)
        return right, f"{path}?{rest}" if rest else path

    def _known(self, headers: Mapping[str, str], name: str, proof: str) -> bool:
        bearer = headers.get("authorization", "")
        if bearer.startswith("Bearer "):
            token = (self.settings.token or "").encode()
            return hmac.compare_digest(bearer.removeprefix("Bearer ").strip().encode(), token)
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(name)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), proof.encode())


def _proof(token: str, port: int) -> str:
    """What the cookie holds: it shows that the token was known, and is not the token."""
    return hmac.new(token.encode(), f"limner studio {port}".encode(), hashlib.sha256).hexdigest()


def _host_name(host: str) -> str | None:
    """The name in ``name:port``, in small letters; ``None`` where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname.lower() if port is None or 0 < port < 65536 else None


def _port(host: str, scheme: str) -> int:
    """The port that a Host header names, or the one that its scheme has."""
    return urlsplit(f"//{host}").port or (443 if scheme == "https" else 80)


def _address(name: str) -> str | None:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def _same_place(origin: str, host: str, scheme: str) -> bool:
    return origin.lower() == f"{scheme}://{host}".lower()


def _with_headers(send: Any) -> Any:
    async def sending(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            have = {name.lower() for name, _ in given}
            given += [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in have]
            if b"cache-control" not in have:
                given.append((b"cache-control", b"no-cache"))
            message = {**message, "headers": given}
        await send(message)

    return sending


async def _answer(
    send: Any, status: int, content: Mapping[str, Any] | None, more: tuple[tuple[str, str], ...] = ()
) -> None:
    body = b"" if content is None else json.dumps(content).encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("cache-control", "no-store")]
    named = [(name.encode(), value.encode("latin-1")) for name, value in (*headers, *more, *HEADERS.items())]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})
