"""The model program of the conformance kit: `python main.py ADDRESS`.

ADDRESS is where the kit listens, `host:port` or `unix:path`.
"""

import sys

import firn
from models import COMPONENTS

if __name__ == "__main__":
    firn.Function("tck", *COMPONENTS, incarnations=64).run(sys.argv[1])
