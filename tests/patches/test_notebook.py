"""Messages of a page in a notebook, with and without the patches."""

from __future__ import annotations

import asyncio
import sys
import threading

import panel as pn
import pytest
from bokeh.document import Document
from bokeh.protocol.messages.patch_doc import patch_doc
from panel.models.comm_manager import CommManager
from panel.viewable import MimeRenderMixin, Viewable
from pyviz_comms import Comm, JupyterComm

from atlas.errors import LibraryChanged
from atlas.patches import notebook
from atlas.patches.notebook import before_display, in_order, one_at_a_time


def test_messages_are_heard_on_the_thread_of_the_cells_in_order(monkeypatch):
    heard = []
    monkeypatch.setattr(JupyterComm, "_handle_msg", lambda _, message: heard.append((message, threading.current_thread())))
    loop = sys.modules["tornado.ioloop"].IOLoop(make_current=False)
    one_at_a_time(loop)
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


@pytest.mark.parametrize(("patched", "text_heard"), [(True, "the new text"), (False, "")])  # else go without the patch
def test_a_text_and_the_click_that_runs_it_are_heard_in_order_when_they_come_as_one_message(monkeypatch, patched, text_heard):
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
    if patched:
        monkeypatch.setattr(MimeRenderMixin, "_on_msg", in_order(MimeRenderMixin._on_msg))

    async def hear():
        page._on_msg(ref, manager, message)

    asyncio.run(hear())  # Panel asks for the loop, and one it had to make nobody would close
    assert heard == [text_heard]
    assert not patched or text.value_input == "the new text"


def test_pyviz_comms_swaps_the_standard_output_of_the_whole_process():
    """Two messages handled at once leave it swapped; if they do not any more, go without `one_at_a_time`."""
    before, second_is_in, first_is_out = sys.stdout, threading.Event(), threading.Event()

    def first(_):
        assert second_is_in.wait(10)

    def second(_):
        second_is_in.set()
        assert first_is_out.wait(10)

    def handle(callback, done=None):
        comm = object.__new__(JupyterComm)
        comm._on_msg, comm._on_stdout, comm._on_error = callback, print, print
        comm._comm = None
        comm.decode = dict
        comm.send = lambda *_, **__: None
        comm._handle_msg({})
        if done is not None:
            done.set()

    threads = [threading.Thread(target=handle, args=(first, first_is_out)), threading.Thread(target=handle, args=(second,))]
    inside = threading.Event()
    try:
        threads[0].start()
        while sys.stdout is before:  # until the first has swapped it
            inside.wait(0.001)
        threads[1].start()
        for thread in threads:
            thread.join(20)
        assert sys.stdout is not before
    finally:
        sys.stdout = before


def test_a_hook_is_called_before_anything_is_displayed(monkeypatch):
    monkeypatch.setattr(Viewable, "_preprocessing_hooks", list(Viewable._preprocessing_hooks))
    seen = []
    before_display(lambda _, root, *__: seen.append(root))
    root = pn.Row(pn.pane.Str("a")).get_root()
    assert root in seen


def test_a_panel_without_these_says_which_patch_is_to_be_adapted(monkeypatch):
    monkeypatch.delattr(Viewable, "_preprocessing_hooks")
    with pytest.raises(LibraryChanged, match=r"has no Viewable\._preprocessing_hooks, which atlas/patches/notebook\.py"):
        before_display(print)
    monkeypatch.setattr(JupyterComm, "_handle_msg", JupyterComm._handle_msg)  # put back afterwards
    monkeypatch.delattr(MimeRenderMixin, "_on_msg")
    with pytest.raises(LibraryChanged, match=r"MimeRenderMixin\._on_msg"):
        notebook.hear_in_order(None)
