"""The README's test of a function, as it is shown there."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent.parent / "samples/python"))

# region: kit
from firn.testing import Kit
from quickstart import Balance, Change, account, change


def test_an_account_changes() -> None:
    kit = Kit(account, "alice", state=Balance(10))
    assert kit.send(change(Change("alice", -3))).reply == Balance(7)
    assert str(kit.send(change(Change("alice", -8))).failure) == "FAILED_PRECONDITION: only 7 is there"
    assert kit.state == Balance(7)


# endregion
