"""What tests of functions need.

`Kit` runs one entity or action in memory, without a proxy: it plays Firn, so that handlers run as they
do in earnest. `replicas` gives several kits of one replicated entity, `exchange` lets them hear of each
other. `LocalFirn` starts a real Firn for integration tests.
"""

from firn.testing._kit import Effect, Kit, Result, Stream, Timer
from firn.testing._local import FirnNotFound, LocalFirn
from firn.testing._replicas import exchange, replicas

__all__ = ["Effect", "FirnNotFound", "Kit", "LocalFirn", "Result", "Stream", "Timer", "exchange", "replicas"]
