"""Every public item says what it is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

import firn
import firn.data
import firn.testing


def public() -> Iterator[tuple[str, object]]:
    for module in (firn, firn.data, firn.testing):
        names = getattr(module, "__all__", None) or [
            name for name, item in vars(module).items() if getattr(item, "__module__", "") == module.__name__
        ]
        for name in names:
            item = getattr(module, name)
            if name.startswith("_") or not (inspect.isclass(item) or inspect.isfunction(item)):
                continue
            yield f"{module.__name__}.{name}", item
            for member, value in vars(item).items() if inspect.isclass(item) else ():
                function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if not member.startswith("_") and inspect.isfunction(function):
                    yield f"{module.__name__}.{name}.{member}", function


@pytest.mark.parametrize(("name", "item"), list(public()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_public_item_is_documented(name: str, item: object) -> None:
    assert item.__doc__, f"{name} has no docs"
