"""The frame that every page shares: one look, light and dark, for screen, phone and print; no file or network needed.

`frame.page` makes the document, `pieces` what stands in it, `pictures` takes plots in.
"""
