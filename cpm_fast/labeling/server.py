"""The server of the labeling page: for this machine only, of one folder; nothing is fetched from elsewhere."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpm_fast.labeling.guard import App, Guard
from cpm_fast.labeling.store import Conflict, Store, read_change
from cpm_fast.system.files import parse_json
from cpm_fast.system.installation import install_command

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from cpm_fast.labeling.predictor import Predictor

HOST, PORT, PORTS_TRIED = "127.0.0.1", 8765, 20
MAX_BODY_BYTES = 1 << 20
BODY_SECONDS = 20
MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def make_app(store: Store, token: str, port: int, predictor: Predictor | None = None) -> App:
    """Return the application, guarded.

    Args:
        store: the folder.
        token: that every address must begin with.
        port: that the server will listen on.
        predictor: a network that answers requests for predictions, or None.

    Raises:
        RuntimeError: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise _missing(error) from None

    assets = page_files()

    def number(request: Request) -> int:
        given = int(request.path_params["number"])
        if not given < len(store.names):
            raise _Refused(404, f"number must be below {len(store.names)}, the number of pictures")
        return given

    async def overview(_: Request) -> Response:
        content = await run_in_threadpool(store.overview)
        return JSONResponse({**content, "model": None if predictor is None else predictor.name})

    async def changes(request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not since.isascii() or not since.isdigit() or len(since) > 12:
            raise ValueError(f"since must be a number, got {since!r:.40}")
        return JSONResponse(await run_in_threadpool(store.changes, int(since)))

    async def picture(request: Request) -> Response:
        wanted = number(request)
        if predictor is not None:
            predictor.first(wanted)
        return JSONResponse(await run_in_threadpool(store.picture, wanted))

    async def save(request: Request) -> Response:
        wanted = number(request)
        base, subjects, state = read_change(await read_json(request), len(store.skeleton))
        try:
            return JSONResponse(await run_in_threadpool(store.save, wanted, base, subjects, state))
        except Conflict as conflict:
            return JSONResponse({"error": str(conflict), "picture": conflict.picture}, status_code=409)

    async def predict(request: Request) -> Response:
        wanted, content = number(request), await read_json(request)
        if predictor is None:
            raise ValueError("there is no network; start cpm-fast label with --model")
        box = content.get("box") if isinstance(content, dict) else None
        return JSONResponse({"points": await run_in_threadpool(predictor.in_box, wanted, box)})

    async def image(request: Request) -> Response:
        shown, media = await run_in_threadpool(store.shown, number(request))
        if isinstance(shown, bytes):
            return Response(shown, media_type=media)
        return FileResponse(shown, media_type=media)

    async def thumb(request: Request) -> Response:
        return Response(await run_in_threadpool(store.thumb, number(request)), media_type="image/jpeg")

    async def asset(request: Request) -> Response:
        name = request.path_params.get("name") or "index.html"
        if name not in assets:
            raise _Refused(404, "no such file")
        return Response(assets[name], media_type=MEDIA[Path(name).suffix])

    async def failed(_: Request, error: Exception) -> Response:
        if isinstance(error, FileNotFoundError):
            return PlainTextResponse(str(error), 404)
        status = error.status if isinstance(error, _Refused) else 500 if isinstance(error, OSError) else 400
        return PlainTextResponse(str(error), status)

    routes = [
        Route("/", asset),
        Route("/api/folder", overview),
        Route("/api/changes", changes),
        Route("/api/pictures/{number:int}", picture, methods=["GET"]),
        Route("/api/pictures/{number:int}", save, methods=["PUT"]),
        Route("/api/pictures/{number:int}/image", image),
        Route("/api/pictures/{number:int}/thumb", thumb),
        Route("/api/pictures/{number:int}/predict", predict, methods=["POST"]),
        Route("/{name}", asset),
    ]
    handlers: Any = dict.fromkeys((_Refused, ValueError, OSError), failed)
    return Guard(Starlette(routes=routes, exception_handlers=handlers), token, port)


async def read_json(request: Request) -> Any:
    """Return the body as JSON: within the limits of size and time, and declared as JSON.

    Raises:
        _Refused: too large, too slow, or another type.
        ValueError: not JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _Refused(415, "the body must be application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _Refused(413, f"the body must have at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise _Refused(408, "the body came too slowly") from None
    return parse_json(bytes(body))


def _missing(error: ImportError) -> RuntimeError:
    return RuntimeError(f"cpm-fast label needs Starlette and uvicorn; type: {install_command('label')} ({error})")


def page_files() -> dict[str, bytes]:
    """Return the files of the page by name."""
    folder = resources.files("cpm_fast.labeling") / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if Path(file.name).suffix in MEDIA}


def serve(store: Store, port: int | None = None, predictor: Predictor | None = None) -> None:
    """Serve the page until Ctrl-C, and print its address.

    Args:
        store: the folder.
        port: to listen on; None: 8765, or the next that is free.
        predictor: see `make_app`.

    Raises:
        RuntimeError: uvicorn is not installed.
        OSError: the port is taken.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise _missing(error) from None

    listening = listen(port)
    token = secrets.token_urlsafe(24)
    at = listening.getsockname()[1]
    app = make_app(store, token, at, predictor)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=2
    )
    try:
        print(
            f"open http://{HOST}:{at}/{token}/ in a browser; Ctrl-C ends it, every change is saved at once", flush=True
        )
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()


def listen(port: int | None) -> socket.socket:
    """Return a socket on 127.0.0.1 that listens.

    Raises:
        OSError: the port is taken.
    """
    for tried in range(PORT, PORT + PORTS_TRIED) if port is None else [port]:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # Elsewhere it only allows a port whose last server has just ended; on Windows, one in use.
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, tried))
            return listening
        except OSError:
            listening.close()
            if port is not None:
                raise OSError(f"port {port} of {HOST} is taken; give another --port") from None
    raise OSError(f"ports {PORT} to {PORT + PORTS_TRIED - 1} of {HOST} are taken; give a --port")
