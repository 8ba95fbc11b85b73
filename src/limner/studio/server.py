"""``limner studio``: the server on a socket of its own, and the browser."""

from __future__ import annotations

import socket
import threading
import webbrowser
from contextlib import suppress
from dataclasses import replace
from typing import Any

from limner.errors import InputError
from limner.studio.settings import PORT, Settings

TRIES = 20
"""Ports after the usual one that are tried when it is taken."""
_MISSING = "limner studio: needs {name}; install it with pip install 'limner[studio]'"


def serve(settings: Settings, browser: bool = True) -> None:
    """Serve until Ctrl-C.

    Args:
        settings: checked.
        browser: open the page when the server answers.

    Raises:
        InputError: a package is missing, or the address cannot be listened on.
    """
    uvicorn, studio = _imported()
    listening = listen(settings.host, settings.port)
    settings = replace(settings, port=listening.getsockname()[1])
    config = uvicorn.Config(
        studio(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        ws="none",
    )
    server = uvicorn.Server(config)
    print(f"Limner's studio: {address(settings)}", flush=True)
    print(f"runs in {settings.runs}, data in {', '.join(map(str, settings.data))}; Ctrl-C ends it, not the trainings")
    if browser:
        threading.Timer(0.7, webbrowser.open, (address(settings),)).start()
    with suppress(KeyboardInterrupt):  # the usual way to end it
        server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address. The usual port may be taken: then one of the next.

    Raises:
        InputError: there is no such address, or no port is free.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host {host}: cannot be listened on ({getattr(error, 'strerror', None) or error})"
        ) from None
    ports = range(port, min(port + TRIES, 65536)) if port == PORT else (port,)
    failure: OSError | None = None
    for one in ports:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((place[0], one, *place[2:]))
            listening.listen(256)
            return listening
        except OSError as error:
            failure = error
            listening.close()
    words = failure.strerror if failure is not None else "no port is free"
    raise InputError(f"--host {host} --port {port}: cannot be listened on ({words})")


def address(settings: Settings) -> str:
    """What to open in a browser, with the token where there is one."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.port}/" + (f"?token={settings.token}" if settings.token else "")


def _imported() -> tuple[Any, Any]:
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise InputError(_MISSING.format(name=error.name or "fastapi")) from None
    from limner.studio.app import Studio

    return uvicorn, Studio
