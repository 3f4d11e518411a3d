"""A server of poses: uvicorn --app-dir examples serve:app.

POST the bytes of a picture to /poses, or to /poses?box=left,top,right,bottom; the response is `Result.to_json`.
CPM_FAST_SERVE_MODEL names the weights, CPM_FAST_SERVE_THREADS the CPU threads per picture.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import cpm_fast

MODEL = os.environ.get("CPM_FAST_SERVE_MODEL")
THREADS = int(os.environ.get("CPM_FAST_SERVE_THREADS", "1"))
LARGEST_BODY_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
# More pictures at a time than processors would only delay each of them.
AT_A_TIME = max(1, (os.cpu_count() or 1) // THREADS)


@asynccontextmanager
async def warm_up(_app: Starlette) -> AsyncIterator[None]:
    """Load and prepare the network before the first request."""
    cpm_fast.infer(np.zeros((64, 64, 3), np.uint8), model=MODEL, boxes=[8, 8, 56, 56], threads=THREADS)
    yield


async def poses(request: Request) -> Response:
    """Respond to a picture with its poses; 400: not a picture or not a box, 413: too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY_BYTES:
            return JSONResponse({"error": f"a picture has at most {LARGEST_BODY_BYTES} bytes"}, 413)
    try:
        box = request.query_params.get("box")
        boxes = [float(number) for number in box.split(",")] if box else None
        async with turns:
            (result,) = await asyncio.to_thread(
                cpm_fast.infer, bytes(body), model=MODEL, boxes=boxes, threads=THREADS, max_pixels=MAX_PIXELS
            )
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    return Response(result.to_json(), media_type="application/json")


turns = asyncio.Semaphore(AT_A_TIME)
app = Starlette(routes=[Route("/poses", poses, methods=["POST"])], lifespan=warm_up)
