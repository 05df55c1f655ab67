"""The template of `firn new`: its files are complete, and its own tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TEMPLATE = HERE / "template"


def made(into: Path) -> dict[str, list[str]]:
    """Makes a project, as `firn new` does, and gives what the template says of it."""
    said: dict[str, list[str]] = tomllib.loads((HERE / "template.toml").read_text())
    for file in said["files"]:
        text = (TEMPLATE / file).read_text().replace("{{name}}", "hello-firn").replace("{{sdk}}", f"-e {HERE}")
        assert "{{" not in text.replace("{{name}}", ""), f"{file} has another placeholder"
        (into / file).write_text(text)
    return said


def test_every_file_is_listed(tmp_path: Path) -> None:
    said = made(tmp_path)
    there = {str(path.relative_to(TEMPLATE)) for path in TEMPLATE.rglob("*") if "__pycache__" not in str(path)}
    assert set(said["files"]) == there
    assert set(said) == {"command", "setup", "files"}
    assert said["command"][-1] in there


def test_a_new_project_passes_its_tests(tmp_path: Path) -> None:
    made(tmp_path)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
