"""Sphinx configuration: ``sphinx-build -W docs build/html``."""

import sys
from importlib.metadata import version as _version

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import agent_messaging
from agent_messaging.testing import conformance

project = "agent-messaging"
author = "The agent-messaging authors"
release = _version("agent-messaging")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["examples"]
html_theme = "furo"
html_show_copyright = False
html_title = f"agent-messaging {release}"

myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

default_role = "py:obj"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

# Public objects say that they are of a public package, where autodoc then looks for their ``#:``
# comments; those stand in its private modules.
for _public in (agent_messaging, conformance):
    _package = ModuleAnalyzer.for_module(_public.__name__)
    _package.analyze()
    for _name in [name for name in sys.modules if name.startswith(f"{_public.__name__}.")]:
        _module = ModuleAnalyzer.for_module(_name)
        _module.analyze()
        _package.attr_docs |= _module.attr_docs


# Napoleon takes what stands before a colon in an attribute's first line for its type. Ours are
# sentences, so that it gets to see none of them.
_ATTRIBUTES = {"attribute", "data", "property"}
_withheld: dict[str, list[str]] = {}


def _withhold(
    _app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    if what in _ATTRIBUTES:
        _withheld[name] = lines.copy()
        lines.clear()


def _give_back(
    _app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    if what in _ATTRIBUTES:
        lines[:] = _withheld.pop(name)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _withhold, priority=400)
    app.connect("autodoc-process-docstring", _give_back, priority=600)
