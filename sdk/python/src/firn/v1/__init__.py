"""The messages of firn.v1, generated from the protocol's file by `scripts/generate.py`."""
