"""The app in a process of its own, with a model made for measuring: `python -m tests.benchmarks.server TOKENS`.

Apart from the process that drives the browser, so that neither waits for the other's interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import torch
import transformers as tr
from tornado.web import RequestHandler

from atlas.app import AttentionAtlas, prepare
from atlas.engine.loading.load import load
from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.engine.running.service import Service
from atlas.serving import session, warm
from atlas.state.opening import Opening
from tests.engine.families import VOCABULARY, tokenizer
from tests.places import REPO

LAYERS = HEADS = 12
WIDTH = 144
"""Of the model: 12 numbers a head. What is worked out and sent depends on layers, heads and tokens."""

POSITIONS = 2_048
SCALE = 6.0
"""How much larger its matrices are than random ones usually are: with those every softmax is flat."""

WORDS = ("the", "doctor", "said", "that", "she", "was", "tired", "because", "cat", "ran", "after", "dog", "and", "away", "from")
"""Each of them one token of the tiny vocabulary."""

SIDE = 360
"""Pixels of the yardstick's image: about those of the Map."""

LONGEST_START = 120.0
"""Seconds a server may take to answer: imports of torch, transformers and Panel on a busy machine."""


def narrow() -> Any:
    """A GPT-2 of 12 x 12 heads that is narrow, so that it runs fast."""
    torch.manual_seed(0)
    with quiet_transformers():
        config = tr.GPT2Config(vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS,
                               bos_token_id=2, eos_token_id=3)  # fmt: skip
        model = tr.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "wpe" not in name:
                parameter.mul_(SCALE)
    return model


def text(tokens: int) -> str:
    """So many words, each of which is a token."""
    return " ".join(np.random.default_rng(0).choice(WORDS, tokens))


class Ping(RequestHandler):
    """Answers as soon as the event loop is free: with the seconds of processor this process has taken."""

    def get(self) -> None:
        """Answer."""
        self.finish(str(time.process_time()))


def yardstick() -> Any:
    """A page of one image that a click redraws: what the machine and the libraries take for the least there is to do."""
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    button = pn.widgets.Button(label="Again", css_classes=["aa-again"])

    def image(clicks: int) -> hv.Image:
        return hv.Image(np.roll(pixels, clicks, axis=0), bounds=(0, 0, 1, 1))

    drawn = hv.DynamicMap(image, streams={"clicks": button.param.clicks})
    return pn.Column(button, pn.pane.HoloViews(drawn.opts(clim=(0, 255)), width=420, height=420, css_classes=["aa-map"]))


def make(tokens: int) -> Any:
    """A server of the app, not started; every page of it opens on a text of so many tokens."""
    prepare()
    warm()  # as `atlas serve` does before it answers
    service = Service()
    name = service.give(load((narrow(), tokenizer(special=False))))

    def page() -> Any:
        return AttentionAtlas(service).page(Opening(name, text(tokens)))

    pages = {"app": page, "embedded": session, "yardstick": yardstick}
    return pn.serve(pages, port=0, show=False, start=False, verbose=False, extra_patterns=[("/ping", Ping)])


@contextmanager
def running(*command: str) -> Iterator[str]:
    """Start a command that prints the address it serves on; the address, and an end of it afterwards."""
    process = subprocess.Popen([sys.executable, *command], cwd=REPO, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, f"{' '.join(command)} ended with {process.wait()} before it served anything"
        _answers(address)
        yield address
    finally:
        process.terminate()
        process.communicate()  # ends with the process, and closes the pipe it was read from


def _answers(address: str) -> None:
    begun = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=LONGEST_START):
                return
        except OSError:
            if time.monotonic() - begun > LONGEST_START:
                raise
            time.sleep(0.05)


def main() -> None:
    """Serve until told to end."""
    server = make(int(sys.argv[1]))
    server.start()
    print(f"http://localhost:{server.port}", flush=True)
    server.io_loop.start()


if __name__ == "__main__":
    main()
