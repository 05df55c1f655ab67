"""Generates the messages of firn.v1 from the protocol's file: `python scripts/generate.py`.

A test runs this into another folder and compares, so that what is committed is fresh.
"""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent.parent
CONTRACTS = HERE.parent.parent / "proto"


def generate(into: Path) -> None:
    """Writes `firn/v1/function_pb2.py` and its type hints below a folder."""
    google = resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{CONTRACTS}", f"-I{google}", f"--python_out={into}", f"--pyi_out={into}"]
    status = protoc.main([*arguments, "firn/v1/function.proto"])
    if status != 0:
        sys.exit(f"protoc ended with {status}")


if __name__ == "__main__":
    generate(HERE / "src")
