"""What the self-checks of the Python peers share: start the function, talk to it raw."""

import os
import queue
import socket
import subprocess
import sys
import traceback

import grpc

# How long a function may take from its start to its first answer.
START_SECONDS_MAX = 20
# How long one exchange may take.
ANSWER_SECONDS_MAX = 5


class Stream:
    """One open stream to an entity: sends, and reads what comes back in order."""

    def __init__(self, method):
        self.requests = queue.Queue()
        self.replies = method(iter(self.requests.get, None), timeout=ANSWER_SECONDS_MAX)

    def send(self, request):
        self.requests.put(request)

    def exchange(self, request):
        self.send(request)
        return next(self.replies)

    def end(self):
        """Half-closes; what the other side still sends."""
        self.requests.put(None)
        return list(self.replies)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(folder, check):
    """Runs `check(channel)` on a started function, and exits with its outcome."""
    port = free_port()
    environment = dict(os.environ, HOST="127.0.0.1", PORT=str(port))
    function = subprocess.Popen(["./start"], cwd=folder, env=environment)
    try:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(channel).result(timeout=START_SECONDS_MAX)
        check(channel)
        print("selfcheck: ok")
        code = 0
    except Exception:
        traceback.print_exc()
        print("selfcheck: failed", file=sys.stderr)
        code = 1
    function.kill()
    function.wait()
    os._exit(code)
