"""Sphinx's configuration of the documentation."""

import json
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import lightning_invariant

project = "lightning-invariant"
author = "The lightning-invariant developers"
project_copyright = author
version = release = lightning_invariant.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build", "**.ipynb_checkpoints", "tutorials/runs"]
html_theme = "furo"
html_title = "lightning-invariant"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"source_repository": "https://github.com/lightning-invariant/lightning-invariant/"}
html_show_sphinx = False
smartquotes = False  # words in quotation marks are typed as they stand
suppress_warnings = ["myst.header", "config.cache"]
if not (HERE / "results.md").is_file():  # python -m benchmarks.paper writes that page
    suppress_warnings.append("toc.not_readable")

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

# Docstrings are Google's form; single backticks are code.
default_role = "literal"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": False}
autodoc_preserve_defaults = True
napoleon_custom_sections = ["Source", "Guarantee"]
napoleon_use_ivar = True

# Tutorials are kept without outputs; the build runs them, once as long as they do not change.
nb_execution_mode = os.environ.get("DOCS_NOTEBOOKS", "cache")
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 180
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"

# escnn needs an older NumPy, so its tutorial runs in the environment of `make test-guests`, as a kernel of its own.
GUESTS = ROOT / ".venv-guests" / "bin" / "python"
if (guests := Path(os.environ.get("GUESTS_PYTHON", GUESTS))).is_file():
    kernel = HERE / "_build" / "jupyter" / "kernels" / "guests"
    kernel.mkdir(parents=True, exist_ok=True)
    command = [str(guests), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    described = {"argv": command, "display_name": "guests", "language": "python", "env": {"PYTHONPATH": str(ROOT)}}
    (kernel / "kernel.json").write_text(json.dumps(described), encoding="utf-8")
    os.environ["JUPYTER_PATH"] = os.pathsep.join([str(kernel.parents[1]), os.environ.get("JUPYTER_PATH", "")])
else:
    nb_execution_excludepatterns = ["tutorials/images.ipynb"]
os.environ.setdefault("PYTHONPATH", str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "2")


REPOSITORY = html_theme_options["source_repository"] + "blob/main/"
MARKUP = re.compile(r"(?<!\\)\||(?<![*\\])\*(?!\*)|(?<=\w)_(?=\W|$)")


def escape(app, what, name, obj, options, lines):
    """Keep bars, stars and underscores of plain text from being read as markup."""
    for number, line in enumerate(lines):
        if ">>>" in line or line.startswith("    " * 3):
            continue
        parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
        parts[::2] = [MARKUP.sub(r"\\\g<0>", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def lead_out(app, docname, source):
    """Let links to pages beside this folder lead to the repository."""
    source[0] = re.sub(r"\]\(\.\./([^)#]+\.md)", rf"]({REPOSITORY}\1", source[0])


def setup(app):
    """Read docstrings and links as they are written."""
    app.connect("source-read", lead_out)
    app.connect("autodoc-process-docstring", escape, priority=400)
