"""nexar bench --plot FILE: times over sizes, one line for each library or transport."""

from __future__ import annotations

import importlib.util
from statistics import median

from . import compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .peers import Result

    Line = list[tuple[int, float, float, float]]


def missing() -> str | None:
    """Why it cannot draw."""
    if importlib.util.find_spec("matplotlib") is not None:
        return None
    return "--plot needs matplotlib, which is not installed: pip install 'pynexar[plot]'"


def lines(results: Sequence[Result]) -> dict[str, Line]:
    """By name of the library: bytes, and over the rounds the median, least and most microseconds."""
    found: dict[str, Line] = {}
    for library in dict.fromkeys(result["library"] for result in results):
        by_size = sorted((key[1], rounds.values()) for key, rounds in compare.times(results, library).items())
        found[library] = [(nbytes, median(each), min(each), max(each)) for nbytes, each in by_size]
    return found


def draw(path: str, results: Sequence[Result]) -> None:
    """Writes the picture; the ending of the name says which kind."""
    import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

    mpl.use("Agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for library, points in lines(results).items():
        nbytes, middle, least, most = zip(*points)
        axes.plot(nbytes, middle, marker="o", label=library)
        axes.fill_between(nbytes, least, most, alpha=0.2)
    first = results[0]
    if any(result["bytes"] for result in results):
        axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel="bytes", ylabel="microseconds", title=f"{first['case']}, {first['ranks']} ranks")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
