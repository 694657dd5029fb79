"""The bare loop that `vmbroker proxy` is held against: stdin and stdout on a websocket, by websockets' own asyncio client.

Knows no kubeconfig: BARE_URL (wss://…), BARE_CA (a file) and BARE_TOKEN come by the environment; the seconds from the start of
the connection to the first message go to stderr.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol


async def upward(websocket: ClientConnection) -> None:
    """Copy stdin to the websocket until it ends."""
    reader = asyncio.StreamReader(limit=1 << 18)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while data := await reader.read(32_768):
        await websocket.send(data)


async def main() -> None:
    """Copy both ways until the server ends."""
    began = time.perf_counter()
    context = ssl.create_default_context(cafile=os.environ["BARE_CA"])
    async with connect(
        os.environ["BARE_URL"],
        ssl=context,
        subprotocols=[Subprotocol("plain.kubevirt.io")],
        additional_headers={"Authorization": f"Bearer {os.environ['BARE_TOKEN']}"},
        compression=None,
        proxy=None,
        max_size=None,
        ping_interval=None,
        open_timeout=15,
    ) as websocket:
        sending = asyncio.ensure_future(upward(websocket))
        is_first = True
        try:
            async for message in websocket:
                if is_first:
                    print(f"{time.perf_counter() - began:.6f}", file=sys.stderr, flush=True)
                    is_first = False
                view = memoryview(message if isinstance(message, bytes) else message.encode())
                while view:
                    view = view[os.write(1, view) :]
        finally:
            sending.cancel()


if __name__ == "__main__":
    asyncio.run(main())
