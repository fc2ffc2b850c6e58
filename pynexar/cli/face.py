"""python -m pynexar.cli.face LIBRARY SECONDS CASE[:BYTES,BYTES]...: one rank of a job that measures a library.

Started by `nexar run`, mpirun and the like, for `nexar bench --compare` and the scripts in bench/.  JSON lines.
"""

from __future__ import annotations

import sys

from .faces import FACES
from .method import measure_all


def main(argv: list[str]) -> int:
    library, seconds, *words = argv
    cases = []
    for word in words:
        name, _, sizes = word.partition(":")
        cases.append((name, [int(size) for size in sizes.split(",")] if sizes else [8]))
    face = FACES[library].join()
    status = measure_all(face, cases, float(seconds), as_json=True)
    face.close()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
