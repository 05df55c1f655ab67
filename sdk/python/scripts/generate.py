"""Generates messages from contracts: `python scripts/generate.py`.

A test runs this into another folder and compares, so that what is committed is fresh.
"""

import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
# Where contracts are, which are generated, where to, and whether without the folders of their packages:
# those of the conformance kit would hide the SDK's own package.
CONTRACTS = [
    (ROOT / "proto", ["firn/v1/function.proto"], HERE / "src", False),
    (
        ROOT / "samples/proto",
        ["shop/cart.proto", "shop/cart_events.proto", "board/leaderboard.proto"],
        ROOT / "samples/python",
        False,
    ),
    (ROOT / "tck/proto", ["firn/tck/v1/model.proto"], HERE / "tck", True),
]


def generate(contracts: Path, files: list[str], into: Path, flat: bool) -> None:
    """Writes the messages of some files, and their type hints, below a folder."""
    if flat:
        with tempfile.TemporaryDirectory() as folder:
            generate(contracts, files, Path(folder), False)
            for file in Path(folder).rglob("*_pb2.py*"):
                shutil.copyfile(file, into / file.name)
        return
    google = resources.files("grpc_tools") / "_proto"
    includes = [f"-I{contracts}", f"-I{ROOT / 'proto'}", f"-I{google}"]
    status = protoc.main(["protoc", *includes, f"--python_out={into}", f"--pyi_out={into}", *files])
    if status != 0:
        sys.exit(f"protoc ended with {status}")


if __name__ == "__main__":
    for contract in CONTRACTS:
        generate(*contract)
