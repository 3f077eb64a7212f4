"""A stop that comes while no loop hears it: an error, now or in the process that this one becomes."""

import os
import signal
import subprocess
import sys

import pytest

from alphatrade.nodes.live import stops
from alphatrade.risk.errors import StoppedError
from tests.conftest import ROOT

BECOMES = """
import os, signal, sys
from alphatrade.nodes.live import stops
from alphatrade.risk.errors import StoppedError
if len(sys.argv) == 1:
    stops.held_back()
    os.kill(os.getpid(), signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "again"])
try:
    with stops.heard():
        print("nobody has asked")
except StoppedError as error:
    print(error)
"""


@pytest.mark.parametrize("number", stops.STOPS)
def test_a_stop_is_an_error_and_afterwards_what_it_was(number):
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=signal.Signals(number).name), stops.heard():
        os.kill(os.getpid(), number)
        signal.pause()
    assert signal.getsignal(number) is before


def test_one_that_was_held_back_is_heard_by_the_process_that_this_one_becomes():
    words = [sys.executable, "-c", BECOMES]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "stopped by SIGTERM while no node ran\n"
