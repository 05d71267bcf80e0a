"""Sphinx reads the same Markdown: `make docs` writes build/docs, and a warning is an error."""

from tutelage import __version__

project = "Tutelage"
author = "the authors of Tutelage"
release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"Tutelage {release}"
html_copy_source = False
# Links of Markdown between pages and to their headings, as a code host understands them.
myst_heading_anchors = 3
myst_links_external_new_tab = False
# Some blocks show one line of JSON with an ellipsis, or a shell session: no lexer fits these.
suppress_warnings = ["misc.highlighting_failure"]
