"""Sphinx's configuration of the course's website."""

import json
from pathlib import Path

settings = json.loads((Path(__file__).parent / "settings.json").read_text(encoding="utf-8"))

project = "Unit 24"
author = "Unit 24"
copyright = "text CC BY 4.0, code MIT"
extensions = ["myst_nb"]
exclude_patterns = ["notebooks"]
nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the code of this cell"
nb_code_prompt_hide = "Hide the code of this cell"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type", "myst.xref_missing", "misc.highlighting_failure"]

html_theme = "sphinx_book_theme"
html_title = "Unit 24"
mathjax_path = "mathjax/tex-chtml.js"  # put there by the site's builder: formulas without a network
html_static_path = ["static"]
html_css_files = ["unit24.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "use_download_button": False,  # each lesson has a link to the notebook as students get it
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    **({"repository_url": settings["repository"], "use_repository_button": True} if settings["repository"] else {}),
}
