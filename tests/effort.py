"""How hard the property-based tests try: the suite as written, `make fuzz` many times as hard."""

import os


def examples(n: int) -> int:
    """`n` examples, times the environment variable FUZZ_TIMES."""
    return n * int(os.environ.get("FUZZ_TIMES", "1"))
