"""The bare loop that `vmbroker forward` is held against: each client of a listener gets a websocket of websockets' own client.

Knows no kubeconfig: BARE_URL (wss://…), BARE_CA (a file) and BARE_TOKEN come by the environment. Prints its port and serves
until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import ssl

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol


async def upward(reader: asyncio.StreamReader, websocket: ClientConnection) -> None:
    """Copy the client's bytes to the websocket until they end."""
    while data := await reader.read(32_768):
        await websocket.send(data)


async def main() -> None:
    """Serve one local port."""
    context = ssl.create_default_context(cafile=os.environ["BARE_CA"])

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
            sending = asyncio.ensure_future(upward(reader, websocket))
            try:
                async for message in websocket:
                    assert isinstance(message, bytes)
                    writer.write(message)
                    await writer.drain()
            except (ConnectionClosed, OSError):
                pass
            finally:
                sending.cancel()
                writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, limit=1 << 18)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
