"""Runs a module as a program until its standard input ends, then stops it as a platform does.

The test holds the other end: a host program stops when its test does, however that ends.
"""

import os
import runpy
import signal
import sys
import threading


def stop_at_end_of_input() -> None:
    # Not through sys.stdin, whose lock would be held while the interpreter shuts down.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
