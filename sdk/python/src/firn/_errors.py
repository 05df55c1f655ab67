"""What can go wrong: failures of commands, faults of declarations, refusals by Firn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from firn.v1 import function_pb2 as pb


class Code(IntEnum):
    """The gRPC status codes of failures."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Failure(Exception):
    """A handler raises it to refuse a command; a call through Firn raises it if it failed.

    Nothing of the handler's decision counts then. A failure of a call that a handler does not catch
    becomes the failure of its own command.
    """

    def __init__(self, code: Code, message: str, details: Sequence[Message] = ()) -> None:
        """`details` reach the caller as they are: messages, packed into `Any` where they are not."""
        super().__init__(message)
        self.code = Code(code)
        self.message = message
        self.details: tuple[Any, ...] = tuple(packed(detail) for detail in details)

    def __repr__(self) -> str:
        return f"Failure({self.code.name}, {self.message!r})"

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def packed(message: Message) -> Any:
    """A message as an `Any`; an `Any` as it is."""
    if isinstance(message, Any):
        return message
    any_message = Any()
    any_message.Pack(message)
    return any_message


def failure_of(message: pb.Failure) -> Failure:
    """A failure as it came from Firn."""
    code = message.code if 1 <= message.code <= 16 else Code.UNKNOWN
    return Failure(Code(code), message.message, message.details)


class DeclarationError(Exception):
    """A component or a type is declared in a way that cannot be served; the text says what to do."""


class ConnectionLost(Exception):
    """There is no connection to Firn, or it ended before a call was answered.

    The call may have run.
    """


@dataclass(frozen=True)
class Finding:
    """Something that Firn found wrong, or soon may be."""

    code: str
    """The stable code, for example `FIRN-2006`; empty if there is none."""
    text: str
    """What is wrong."""
    remedy: str = ""
    """What to do about it."""
    service: str = ""
    """The service it is about, if one."""
    location: str = ""
    """Where in the descriptors' files, if known."""
    is_error: bool = True
    """Whether something was refused; otherwise it works, but perhaps not as meant."""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.service, self.location) if part)
        text = f"{self.code} {self.text}".strip()
        if where:
            text += f" ({where})"
        return f"{text}: {self.remedy}" if self.remedy else text


def finding_of(finding: pb.Finding, is_error: bool = True) -> Finding:
    """A finding as it came from Firn."""
    return Finding(
        finding.code, finding.text, finding.remedy, finding.service, finding.location, is_error
    )


class Refused(Exception):
    """Firn does not take the function; `findings` say why, and what to do."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(str(finding) for finding in findings))
        self.findings = tuple(findings)
