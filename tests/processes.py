"""Other processes: fresh interpreters and forked children, for the tests of what happens there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def environment(**variables):
    """The variables of this process and these, and the helpers of the tests to import."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}


def run_python(code, *arguments, **variables):
    """Run code in a fresh interpreter for two minutes at most; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def in_child(function, seconds=30):
    """Call a function in a forked child; return its result or its error as text.

    An alarm ends a child that hangs.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # nothing may leave this branch
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            try:
                answer = str(function())
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(write, answer.encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return answer
