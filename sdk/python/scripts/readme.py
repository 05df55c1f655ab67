"""Puts the regions of the samples into the README again: `python scripts/readme.py`.

A piece of code in the README follows a comment that names its file and region; a test compares them.
"""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
PIECE = re.compile(r"<!-- (\S+): (.+?) -->\n```python\n.*?```", re.DOTALL)


def region(file: str, name: str) -> str:
    """The text of a region of a file."""
    found = re.search(rf"# region: {re.escape(name)}\n(.*?)# endregion", (ROOT / file).read_text(), re.DOTALL)
    if found is None:
        raise SystemExit(f"{file} has no region {name}")
    return found[1].strip()


def spliced(readme: str) -> str:
    """The README with every piece of code as it is in its file."""

    def piece(match: re.Match[str]) -> str:
        file, name = match[1], match[2]
        return f"<!-- {file}: {name} -->\n```python\n{region(file, name)}\n```"

    return PIECE.sub(piece, readme)


if __name__ == "__main__":
    path = HERE / "README.md"
    path.write_text(spliced(path.read_text()))
