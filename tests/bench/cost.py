"""What a process costs, as the kernel counts it: CPU time and resident memory of it and all it started."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that a process and its descendants have used."""
    return sum(int(user) + int(system) for user, system in (_stat(each)[11:13] for each in _tree(pid))) / _TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Return the memory a process and its descendants hold."""
    return sum(int(_stat(each)[21]) for each in _tree(pid)) * _PAGE_BYTES


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
