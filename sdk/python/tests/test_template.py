"""The template of `firn new`: its files are complete, and its own tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TEMPLATE = HERE / "template"


def files() -> list[str]:
    """The template's files, from its folder."""
    found = (path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [str(path.relative_to(TEMPLATE)) for path in found]


def made(into: Path) -> list[str]:
    """Makes a project, as `firn new` does, and gives the command that `firn dev` runs."""
    for file in files():
        text = (TEMPLATE / file).read_text().replace("{{name}}", "hello-firn").replace("{{sdk}}", f"-e {HERE}")
        assert "{{" not in text, f"{file} has another placeholder"
        (into / file).write_text(text)
    command: list[str] = tomllib.loads((HERE / "template.toml").read_text())["command"]
    return command


def test_the_command_runs_a_file_of_the_template() -> None:
    said = tomllib.loads((HERE / "template.toml").read_text())
    assert said["command"][-1] in files()
    assert set(said["set-up-files"]) <= set(files())


def test_a_new_project_passes_its_tests(tmp_path: Path) -> None:
    made(tmp_path)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
