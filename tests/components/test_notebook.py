"""What a notebook is sent: the scripts once, an app that waits for them, and messages that are heard one at a time."""

from __future__ import annotations

import asyncio
import sys
import threading

import panel as pn
import panel_material_ui as pmui
import pytest
from bokeh.document import Document
from bokeh.protocol.messages.patch_doc import patch_doc
from panel.models.comm_manager import CommManager
from panel.viewable import MimeRenderMixin
from pyviz_comms import Comm, JupyterComm

from atlas.components import notebook


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(notebook, "_loaded", set())


def bundled(css_class):
    """The models of an input on a page of that class which come with a bundle of scripts."""
    with pn.config.set(inline=True):
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


def test_messages_are_heard_on_the_thread_of_the_cells_in_order(monkeypatch):
    heard = []
    monkeypatch.setattr(JupyterComm, "_handle_msg", lambda _, message: heard.append((message, threading.current_thread())))
    loop = sys.modules["tornado.ioloop"].IOLoop(make_current=False)
    notebook.one_at_a_time(loop)
    comm = object.__new__(JupyterComm)

    def page():
        for number in range(5):
            comm._handle_msg({"number": number})

    thread = threading.Thread(target=page)
    thread.start()
    thread.join()
    assert heard == []
    loop.add_callback(loop.stop)
    loop.start()
    loop.close()
    comm._handle_msg({"number": 5})
    assert heard == [({"number": number}, threading.main_thread()) for number in range(6)]


def test_a_text_and_the_click_that_runs_it_are_heard_in_order_when_they_come_as_one_message(monkeypatch):
    """The answer to the click says something to the page, as a run does, and there Panel forgot the text."""
    text, button, answer = pn.widgets.TextInput(), pn.widgets.Button(), pn.pane.Str("")
    heard = []

    def clicked(_):
        answer.object = "Starting"
        heard.append(text.value_input)

    button.on_click(clicked)
    page = pn.Row(text, button, answer)
    root = page._render_model(Document(), Comm())
    ref = root.ref["id"]
    manager = CommManager(plot_id=ref, comm_id="", client_comm_id="")
    box, pressed = (widget._models[ref][0] for widget in (text, button))
    typed = {"kind": "ModelChanged", "model": {"id": box.id}, "attr": "value_input", "new": "the new text"}
    click = {"type": "event", "name": "button_click", "values": {"type": "map", "entries": [["model", {"id": pressed.id}]]}}
    events = [typed, {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": click}]
    message = {"header": patch_doc.create_header(), "metadata": {}, "content": {"events": events}, "_buffers": {}}
    monkeypatch.setattr(MimeRenderMixin, "_on_msg", notebook.in_order(MimeRenderMixin._on_msg))

    async def hear():
        page._on_msg(ref, manager, message)

    asyncio.run(hear())  # Panel asks for the loop, and one it had to make nobody would close
    assert heard == ["the new text"]
    assert text.value_input == "the new text"
