"""Report: one page in which the map of a sweep, its axes and all of its curves can be explored."""

REPORT = "report.html"  # its name among the artifacts of a sweep
