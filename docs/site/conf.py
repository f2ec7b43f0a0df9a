"""How docs/site/build turns the documents of this repository into a web site: no CDN, no script of others."""

import re

project = "Floodplain"
html_title = "Floodplain"
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
exclude_patterns = ["docs/site"]
# Shells and outputs that are not one language each.
highlight_language = "text"

# What is in the repository and no page of the site: its words stay, the link goes.
_NO_PAGE = re.compile(r"\[([^\]]+)\]\((?!https?:|#|mailto:)([^)\s]*)\)")
_PAGE = re.compile(r"\.(md|svg|png)(#[^)]*)?$")


def _without_dead_links(_app, _name, source):
    source[0] = _NO_PAGE.sub(lambda m: m[0] if _PAGE.search(m[2]) else m[1], source[0])


def setup(app):
    app.connect("source-read", _without_dead_links)
