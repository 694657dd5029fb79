"""The bare program of the list bar: aiohttp alone fetches the same pages from the same server and counts their bytes.

Run as `python -m tests.bench.list_bare FOLDER`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path

import aiohttp


async def fetch(session: aiohttp.ClientSession, url: str) -> int:
    """Fetch one list page by page; the token stands near the beginning of each page."""
    token, size = "", 0
    while True:
        query = {"limit": "500", **({"continue": token} if token else {})}
        async with session.get(url, params=query, headers={"Authorization": "Bearer bench"}) as answer:
            body = await answer.read()
        size += len(body)
        head = body[: body.index(b'"items"')].rstrip(b",") + b"}"
        token = json.loads(head)["metadata"].get("continue", "")
        if not token:
            return size


async def main(folder: Path) -> None:
    """Fetch both lists side by side."""
    context = ssl.create_default_context(cadata=(folder / "ca.pem").read_text())
    base = (folder / "url").read_text() + "/apis/kubevirt.io/v1/"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        sizes = await asyncio.gather(fetch(session, base + "virtualmachines"), fetch(session, base + "virtualmachineinstances"))
    print(sum(sizes))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
