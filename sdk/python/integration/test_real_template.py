"""The template of `firn new` runs behind a real Firn, as `firn dev` starts it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from firn.testing import LocalFirn
from test_template import made


async def test_a_new_project_counts(local: LocalFirn, tmp_path: Path) -> None:
    command = made(tmp_path)
    command[0] = sys.executable  # this environment has what setup would install
    environment = {**os.environ, "FIRN_ADDRESS": local.function_address}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = await asyncio.to_thread(process.stderr.readline)
        assert "connected to Firn" in line
        await local.serves("demo.Counter")

        def call(path: str, body: bytes | None = None) -> object:
            headers = {"content-type": "application/json"}
            request = urllib.request.Request(f"http://{local.client_address}{path}", body, headers)
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)

        assert await asyncio.to_thread(call, "/counters/a/increase", b'{"by": 2}') == {"value": "2"}
        assert await asyncio.to_thread(call, "/counters/a") == {"value": "2"}
        with pytest.raises(urllib.error.HTTPError, match="400"):
            await asyncio.to_thread(call, "/counters/a/increase", b'{"by": -2}')
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
