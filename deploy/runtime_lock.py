"""Print the part of requirements.lock that a running node needs: ``python deploy/runtime_lock.py < requirements.lock``.

An entry says after "via" who asks for it. What only the group of developers asks for, and what only that needs, is left
out.
"""

import re
import sys

ENTRY = re.compile(r"^([\w.-]+)==.*?(?=^[\w.-]+==|\Z)", re.M | re.S)
VIA = re.compile(r"^    # +(.*)$", re.M)
OWN = re.compile(r"alphatrade \(pyproject\.toml(?::(\w+))?\)")


def needed(lock: str) -> str:
    """Return the entries that are asked for outside of the group ``dev``, with all that they need, hashes included."""
    entries = {match[1]: match[0] for match in ENTRY.finditer(lock)}
    by = {name: {line.removeprefix("via ").strip() for line in VIA.findall(text)} for name, text in entries.items()}
    kept = {name for name, who in by.items() if any((own := OWN.match(one)) and own[1] != "dev" for one in who)}
    while more := {name for name in entries if name not in kept and kept & by[name]}:
        kept |= more
    return "".join(entries[name] for name in entries if name in kept)


if __name__ == "__main__":
    sys.stdout.write(needed(sys.stdin.read()))
