"""A published page, served from this machine: ``limner publish --serve SITE``.

Any static server will do. This one also says that the page is isolated from other origins (COOP and COEP), without which
browsers grant no shared memory, and WebAssembly computes on one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from limner.errors import InputError
from limner.sharing.publish import HOME, INDEX

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".onnx": "application/octet-stream",
}


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder, with the headers; no listings."""

    protocol_version = "HTTP/1.1"
    server_version = "Limner"
    sys_version = ""
    # What a system's registry says of types is not always true.
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def send_head(self) -> Any:
        if "\0" in unquote(self.path):  # no file has such a name, and no system can be asked for one
            self.send_error(404)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        return


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of a file is no news; all else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def serve(
    site: str | Path, port: int = 8378, host: str = "127.0.0.1", told: Callable[[str], None] | None = None
) -> None:
    """Serve a published page until it is interrupted.

    Args:
        site: its folder.
        port: 0 takes any that is free.
        host: the address to listen on; others than this machine's can be reached from outside.
        told: told the page's address once it answers.

    Raises:
        InputError: the folder holds no page, or the port is taken.
    """
    folder = Path(site)
    if not (folder / INDEX).is_file() or not (folder / HOME).is_file():
        raise InputError(f"{folder}: holds no published page; 'limner publish RUN --out {folder}' writes one")
    try:
        server = _Server((host, port), partial(_Handler, directory=str(folder.resolve())))
    except (OSError, OverflowError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"--port {port}: cannot be listened on at {host} ({words}); choose another") from None
    with server:
        if told is not None:
            told(f"http://{'localhost' if host == '127.0.0.1' else host}:{server.server_address[1]}/")
            sys.stdout.flush()
        server.serve_forever()
