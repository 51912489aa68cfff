"""What a notebook is sent: the scripts once, and an app that waits for them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import panel as pn
import panel_material_ui as pmui
import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc
from pyviz_comms import Comm

from atlas.components import notebook


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(notebook, "_loaded", set())


def bundled(css_class):
    """The models of an input on a page of that class which come with a bundle of scripts."""
    # A document of its own: in that of a server, which another test may have left, scripts are sent as addresses.
    with pn.config.set(inline=True), set_curdoc(Document()):
        root = pn.Row(pmui.Divider(), css_classes=[css_class]).get_root(comm=Comm())
    return root, [model for model in root.references() if getattr(model, "bundle", None) not in {None, "url"}]


def test_the_scripts_are_shared_under_a_name_that_those_who_wait_do_not_have():
    root, models = bundled(notebook.LOADER)
    (scripts,), (name,) = {model.esm for model in models}, {model.bundle for model in models}
    assert len(scripts) > 500_000
    notebook.without_scripts(None, root)
    assert {model.esm for model in models} == {scripts + notebook.SHARING.format(bundle=name)}
    assert name not in {model.bundle for model in models}

    root, models = bundled(notebook.APP)
    notebook.without_scripts(None, root)
    assert {model.bundle for model in models} == {name}
    assert {model.esm for model in models} == {notebook.WAITING.format(bundle=name)}
    assert f'window.aaScripts["{name}"]' in models[0].esm
    assert len(models[0].esm) < 1000


def test_an_app_whose_scripts_were_not_sent_brings_them_and_others_are_left_alone():
    for css_class in (notebook.APP, "somebody-elses"):
        root, models = bundled(css_class)
        before = [(model.esm, model.bundle) for model in models]
        notebook.without_scripts(None, root)
        assert before
        assert [(model.esm, model.bundle) for model in models] == before


def test_a_library_that_another_thread_is_importing_makes_no_notebook(monkeypatch):
    half = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", half)
    assert not notebook.in_notebook()
    half.get_ipython = lambda: SimpleNamespace(kernel=1)
    assert notebook.in_notebook()
