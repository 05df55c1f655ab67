"""Replicated data: types of which every node that is asked has a replica.

A handler reads and changes the data of its entity; what changed travels to Firn as a delta with the
decision, and what other replicas changed comes in between. Keys and elements are messages, dataclasses,
pydantic models, text, numbers or bytes, and are compared by their encoding.

# How it works
The handlers that run at once (`def`) work on the entity's own data; what they did before a failure is
undone from a log. Those that wait (`async def`) work on a copy, so that nobody sees what is not decided;
their delta goes into the entity's data with their decision.
"""
from firn.data._base import Clock, Data
from firn.data._maps import CounterMap, Map, MultiMap, RegisterMap
from firn.data._plain import Counter, Flag, GrowCounter, Register, Vote
from firn.data._sets import GrowSet, Set

__all__ = [
    "Clock",
    "Counter",
    "CounterMap",
    "Data",
    "Flag",
    "GrowCounter",
    "GrowSet",
    "Map",
    "MultiMap",
    "Register",
    "RegisterMap",
    "Set",
    "Vote",
]
