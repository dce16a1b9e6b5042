"""Colours and sizes that the plots of a sweep share; small enough to be read on a phone, inline in a page."""

SIZE = 9
"""Of words, in points."""
BEST = "#d1495b"
BLUE = "#3b6ea5"
GREY = "#8a8a8a"
INK = "#333333"
MAP = "viridis"
"""Dark is far from the best; told apart without colours, too."""
