import subprocess
import sys

# An import that Ctrl-C meets, without the race of sending one.
SCRIPT = """
import importlib.abc
import sys

class Interrupted(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from ops.cli.entry import main
main()
"""


def test_ctrl_c_while_the_command_is_still_imported_ends_it_without_a_word() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_the_entry_runs_the_command_line() -> None:
    script = "import sys; from ops.cli.entry import main; sys.argv = ['lockgate', '--version']; main()"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30)
    assert ran.stdout.startswith("lockgate ")
