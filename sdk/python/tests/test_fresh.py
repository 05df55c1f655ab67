"""Generated code is what its contracts say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent.parent


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", HERE / "scripts/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("place", range(3), ids=["sdk", "samples", "tck"])
def test_generated_code_is_fresh(tmp_path: Path, place: int) -> None:
    generate = script()
    contracts, files, into, flat = generate.CONTRACTS[place]
    generate.generate(contracts, files, tmp_path, flat)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py*"))
    assert len(made) == 2 * len(files)
    for path in made:
        fresh = (into / path).read_text() == (tmp_path / path).read_text()
        assert fresh, f"{path} is stale: run python scripts/generate.py"
