import os
import subprocess
import sys

import pytest

# In a process of its own: it ends all its children, and a test runner has others.
SCRIPT = """
import subprocess
from ops.devstack.leftovers import adopt_orphans, end_leftovers
adopt_orphans()
shell = subprocess.Popen(["/bin/sh", "-c", "sleep 61 & echo $!; sleep 62 & echo $!; exec sleep 63"],
                         stdout=subprocess.PIPE, start_new_session=True)
grandchildren = [shell.stdout.readline().strip().decode() for _ in range(2)]
shell.kill()
shell.wait()
print(end_leftovers(), end_leftovers(), *grandchildren)
"""


def test_orphans_of_a_killed_part_end_with_the_stack() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=20)
    first, second, *grandchildren = ran.stdout.split()
    assert (first, second) == ("2", "0")
    for pid in map(int, grandchildren):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
