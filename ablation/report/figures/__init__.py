"""The figures of a report, drawn by seaborn on plain Matplotlib figures."""

import sys

# seaborn needs SciPy's statistics and clustering for densities and dendrograms alone, which no figure here has, and
# works without them. Hiding them saves 1.2 of the 9 CPU seconds that the report of a small sweep takes. In an
# interactive session, whose user may want them, they stay.
_SLOW = ("scipy.stats", "scipy.cluster")
_hidden = [] if hasattr(sys, "ps1") or "seaborn" in sys.modules else [m for m in _SLOW if m not in sys.modules]
sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]  # None: raises ImportError
try:
    import seaborn.objects  # noqa: F401
finally:
    for _module in _hidden:
        del sys.modules[_module]
