"""AttentionAtlas: the app as one object that connects state and views, the same in a notebook and on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import holoviews as hv
import panel as pn
import param
from panel.io.resources import LOCAL_DIST
from panel.util.parameters import edit_readonly
from panel_material_ui.template.base import Page

from atlas.components.announcer import Announcer
from atlas.components.history import History
from atlas.components.notebook import in_notebook, load_once, without_scripts
from atlas.components.notice import Notice
from atlas.components.scheme import Scheme
from atlas.components.window_size import WindowSize
from atlas.engine.model import Model
from atlas.engine.running.service import Service
from atlas.errors import UnknownName
from atlas.jobs import listed_models, preparation, run_of, size_of_download, takes_target, where_is, worked_out
from atlas.patches.browser import BrowserPatches
from atlas.patches.messages import GUEST, log_problem, patch_messages
from atlas.patches.pages import patch_pages
from atlas.patches.panes import plots_of
from atlas.patches.pipelines import patch_pipelines
from atlas.patches.requests import patch_requests
from atlas.patches.sending import patch_sending
from atlas.resources import asset
from atlas.scheduler import Ticket
from atlas.state.corpora import Corpora, named
from atlas.state.guide import Guide
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.lessons import TOURS
from atlas.state.library import Listed, examples
from atlas.state.link import State
from atlas.state.opening import Opening, begin, opening_of
from atlas.state.pipeline import Job
from atlas.state.restore import job_of
from atlas.state.share import decode
from atlas.state.shared import SharedState
from atlas.state.study import Study
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.trace import Trace
from atlas.tracing import groups
from atlas.tracing.corpus import Corpus
from atlas.tracing.listed import NO_TEXTS, TAKES_TARGET, list_of, open_list
from atlas.views.base import after_paint, bind_rule, one_message
from atlas.views.catalog import TABS, Tab
from atlas.views.findings import Notebook
from atlas.views.frame import LOOK, SIDEBAR, THEME, SidebarFold
from atlas.views.level_switch import beside_tabs
from atlas.views.selection_bar import SelectionBar
from atlas.views.session_panel import SESSION, SessionPanel
from atlas.views.sharing import sharing
from atlas.views.sidebar import Sidebar, on_the_page
from atlas.views.study import StudyPanel
from atlas.views.tabs import Tabs
from atlas.views.text import TextView
from atlas.views.tours import Tours

TITLE = "Attention Atlas"

STEPS = {"head-left": (0, -1), "head-right": (0, 1), "head-up": (-1, 0), "head-down": (1, 0)}
"""Action of a key -> (layers, heads) by which the focus moves."""


class AttentionAtlas(pn.viewable.Viewer):
    """The app of one session: its state and its views, on a service that all sessions share."""

    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    def __init__(
        self, service: Service | None = None, tabs: Sequence[Tab] = TABS, study: Study | None = None, **params: Any
    ) -> None:
        super().__init__(**params)
        self.service = service or Service()
        self.workspace = Workspace(
            *(self.run, one_message, after_paint, self.kept),
            load=self.load,
            prepare=preparation,
            weigh=lambda job: self.service.cost(run_of(job)),
            # Who is logged in is one reader in all tabs: more tabs give nobody a larger share of the machine.
            session=None if pn.state.user in {None, "", GUEST} else pn.state.user,
            tasks={**TASKS, TAKES_TARGET: partial(takes_target, self.service)},
            scheduler=self.service.scheduler,
            corpora=Corpora(
                opened=dict(self.service.corpora), workers=self.service.corpus_workers, for_others=self.service.rules is not None
            ),
        )
        if self.service.texts is not None:
            self.workspace.listed.put(self.service.texts)
        # Made before any view, because it puts a link's selection into a new trace, and views made before it would draw twice.
        self.shared = SharedState(self.workspace, self.where, partial(size_of_download, self.service))
        self.opened_with = ""
        """The model that the operator of this server opens the app with."""
        self.given: list[Listed] = []
        self.tabs = Tabs(self.workspace, tabs, dark=self.dark)
        self.text = TextView(self.workspace, dark=self.dark)
        self.bar = SelectionBar(self.workspace)
        self.guide = Guide(self.shared, TOURS)
        self.tours = Tours(self.guide, self.param.dark)
        self.study = [] if study is None else [StudyPanel(study)]
        self.announcer = Announcer()
        self.bar.lens.param.watch(self._announce, ["heads", "tokens", "changes", "nothing"])
        self.announcer.on_key(self._key)
        self.notebook: Notebook | None = None
        self._page: Any = None
        self._body: Any = None

    # -- for Python ----------------------------------------------------------------------------------------------------

    @property
    def selection(self) -> Any:
        """The current selection; `.heads`, `.queries` and `.keys` follow the screen."""
        return self.workspace.selection

    @property
    def trace(self) -> Trace | None:
        """The trace on screen."""
        return self.workspace.trace

    @property
    def heads(self) -> Any:
        """The table of metrics of the selected heads; of all heads where none is selected."""
        if self.trace is None:
            return None
        table = self.trace.heads
        selected = {(head.kind, head.layer, head.head) for head in self.selection.heads}
        keep = [not selected or key in selected for key in zip(table["kind"], table["layer"], table["head"], strict=True)]
        return table[keep].reset_index(drop=True)

    def open(self, model_or_trace: Any, text: str | None = None, **texts: Any) -> None:
        """Show a trace, or run a text through a model: a name, a folder, a hub id, a Model, or (model, tokenizer)."""
        pipeline = self.workspace.pipeline
        assert pipeline.choice is not None
        assert pipeline.input is not None
        if isinstance(model_or_trace, Trace):
            pipeline.choose(str(model_or_trace.provenance.get("model") or "a recording"), in_memory=True)
            own = model_or_trace.texts
            pipeline.input.put(own.text or "", own.pair or "", own.target or "")
            pipeline.show(model_or_trace)
            return
        if isinstance(model_or_trace, str):
            pipeline.choose(model_or_trace)
        else:
            model = model_or_trace if isinstance(model_or_trace, Model) else self.service.borrow(model_or_trace)
            name = self.service.give(model)
            self.given.append(
                Listed(name, "memory", f"{sum(k.n_layers * k.n_heads for k in model.size.kinds):,} heads", "Yours.")
            )
            pipeline.choose(name, in_memory=True)
        if text is not None:
            pipeline.input.put(text, **texts)
        elif self.workspace.listed.texts.texts:
            self.workspace.listed.ask(0)
        else:
            return
        if in_notebook():
            # Computed before the cell ends, because the next cell may use the trace.
            pipeline.show(worked_out(self.service, pipeline.job(), Ticket()))
        else:
            when_drawn(pipeline.run)

    # -- on the page ---------------------------------------------------------------------------------------------------

    def body(self) -> Any:
        """The app without the frame of a page, as a notebook shows it."""
        if self._body is None:
            own = self.shared.param
            notice = Notice(
                problem=bind_rule(self.workspace.pipeline.param.error, on_the_page),
                note=pn.bind(self._noted, own.complaint, own.message, self.guide.param.complaint, self.workspace.param.revision),
                dark=self.param.dark,
            )
            tab_row = beside_tabs(self.tabs.bar, self.workspace.display)
            parts = [self.text, self.bar, notice, tab_row, self.tours.panel, *self.study]
            strip = pn.Column(*parts, sizing_mode="stretch_width", css_classes=["aa-sticky"])
            self._body = pn.Column(
                strip,
                BrowserPatches(),
                self.tabs,
                sizing_mode="stretch_width",
                css_classes=["aa-main"],
            )
        return self._body

    def _noted(self, complaint: str, message: str, no_tour: str, _: int) -> str:
        """The parts of a link that could not be restored, and the notes of the run on screen."""
        notes = () if self.trace is None else self.trace.provenance.get("notes", ())
        return " ".join(filter(None, [complaint, message, no_tour, *map(str, notes)]))

    def page(self, first: Opening | None = None) -> Any:
        """The app as a page to be served. It opens with the state in its address, else with `first`."""
        if self._page is None:
            if pn.state.curdoc is not None:
                # Panel sets `dist_url` only when it writes the HTML. Without it a session that replaces an expired one would
                # load style sheets from the internet.
                pn.state.curdoc.template_variables.setdefault("dist_url", LOCAL_DIST)
                pn.state.on_session_destroyed(self._leave)
            self.tabs.start_later()
            history, scheme, window = History(), Scheme(), WindowSize()
            notebook = self.notebook = Notebook(self.workspace.findings, self.shared, self.param.dark)
            self.shared.param.watch(lambda event: setattr(history, "state", event.new), "token")
            opened = first or Opening()
            self.opened_with = opened.model
            begun = self._begin_at_once(address(history.key), opened)
            tour = address("tour")
            history.on_start(lambda state: when_drawn(lambda: self._started(state, begun, opened, tour)))
            # Started after the other work that waits for the page: in dark mode the first card would else be drawn light and
            # then drawn again.
            when_drawn(lambda: after_paint(self.tabs.start, 0))
            history.on_pop(self.shared.open)
            self._page = Page(
                title=TITLE,
                sidebar=[self.sidebar()],
                main=[self.body(), pn.Row(self.announcer, history, scheme, window, margin=0)],
                header=[sharing(self.shared, self.tours.menu, notebook.book)],
                sidebar_width=SIDEBAR,
                sidebar_variant="persistent",
                sidebar_resizable=False,
                theme_toggle=True,
                busy_indicator=None,
                theme_config=THEME,
                sx=LOOK,
            )
            fold = SidebarFold(self._page, self.workspace.pipeline)
            window.on_size(lambda width, height: when_drawn(lambda: self._sized(fold, width, height)))
            # The page's busy bar is switched off, because every message walks all models of the page for it, which took a fifth
            # of the server's time. The cards show themselves that they wait.
            with edit_readonly(self._page):
                # Not a plain False, which leaves the page among the watchers of the server's state, so that no session is freed.
                self._page.busy = pn.rx(False)  # noqa: FBT003  (the value, not a flag)
            self._page.param.watch(self._themed, "dark_theme")
            self.param.watch(lambda event: setattr(scheme, "dark", event.new), "dark")
            scheme.on_scheme(lambda dark: when_drawn(lambda: self._page.param.update(dark_theme=dark)))
        return self._page

    def _started(self, state: str, begun: str | None, first: Opening, tour: str) -> None:
        """Begin with the state that the browser reports, unless the page has; on top of it the tour that the link names."""
        if state != begun:
            self._begin(state, first)
        if tour:
            self.guide.start(tour)

    def _begin(self, state: str, first: Opening) -> None:
        """Restore the state of the address; without a usable one begin with `first`, unless that is empty."""
        if not self.shared.open(state) and first != Opening():
            begin(self.shared, first)

    def _begin_at_once(self, state: str, first: Opening) -> str | None:
        """Begin with the address's state if its trace is cached; returns the state, or None if the page has not begun.

        A page that begins without a trace is drawn twice: empty at first, and again after the browser reported its address.
        """
        decoded = decode(state)[0]
        if self.kept(first.job() if decoded == State() else job_of(decoded)) is None:
            return None
        self._begin(state, first)
        return state

    def _leave(self, _: object) -> None:
        """Stop the session's work and free its plots, after the browser has left.

        HoloViews lists the callbacks of plots on a class, which all sessions share. Panel would remove them from that list, but
        it looks for the plots in the models of the page, and Bokeh has emptied those before.
        """
        self.workspace.leave()
        if self.notebook is not None:
            self.notebook.report.cancel()
        for pane in self._page.select(pn.pane.HoloViews):
            for plot in plots_of(pane):
                plot.cleanup()

    def sidebar(self) -> Sidebar:
        """The sidebar: model, text, examples, run."""
        return Sidebar(
            self.workspace,
            [*self.given, *listed_models(self.service.rules)],
            examples(),
            lambda example: begin(self.shared, opening_of(example)),
            [(SESSION, SessionPanel(self.shared).body())],
        )

    def __panel__(self) -> Any:
        hooks = [without_scripts] if in_notebook() else []
        side = pn.Column(self.sidebar(), width=320)
        return pn.Row(side, self.body(), sizing_mode="stretch_width", hooks=hooks)

    def _announce(self, *_: object) -> None:
        self.announcer.message = self.bar.lens.said()

    def _key(self, action: str) -> None:
        """Handle a key that works anywhere on the page."""
        if action == "clear":
            self.selection.clear(origin="keys")
        elif action in STEPS:
            self.selection.step(*STEPS[action], origin="keys")

    def _sized(self, fold: SidebarFold, width: int, height: int) -> None:
        with one_message():
            fold.fit(width)
            self.workspace.window_height = height

    def _themed(self, event: Any) -> None:
        self.dark = self.announcer.dark = self.bar.dark = bool(event.new)
        for view in (self.text, self.tabs):
            view.dark = self.dark

    def run(self, job: Job, ticket: Ticket) -> Trace:
        """Run a job in the calling thread."""
        return self.service.run(run_of(job), ticket)

    def where(self, name: str, revision: str) -> str:
        """Where a link's model is; what the app was opened with is fetched without a question, because its operator named it."""
        return "here" if name and name == self.opened_with else where_is(self.service, name, revision)

    def load(self, job: Job) -> Callable[[Ticket], object] | None:
        """The function that loads the model of a job; None if it is loaded."""
        return None if self.service.has(job.model) else partial(self.service.model, job.model)

    def kept(self, job: Job) -> Trace | None:
        """The trace of a job, if it is cached and prepared, so that it can be shown immediately."""
        trace = self.service.kept(run_of(job))
        return trace if trace is not None and groups.is_prepared(trace) else None


def address(key: str) -> str:
    """A part of the query of the current page's address; empty if it has none, or if there is no page."""
    (found, *_) = pn.state.session_args.get(key) or [b""]
    return found.decode("utf-8", "replace")


def when_drawn(work: Callable[[], None]) -> None:
    """Call `work` once the page is complete, because a control that is changed before it is drawn never shows the change."""
    pn.state.onload(work)


def prepare(*, inline: bool = False) -> None:
    """Load the extensions that the pages need into Panel, before anything is served or at the first cell of a notebook."""
    patch_sending()
    if not inline:
        # Not in a notebook, whose process may serve other apps of its owner.
        patch_messages()
        patch_pages()
        patch_pipelines()
        patch_requests()
        pn.config.exception_handler = log_problem
    hv.extension("bokeh", inline=inline)
    # Off, because without a graphics processor (a remote desktop, a headless browser) WebGL takes five times as long to paint.
    hv.renderer("bokeh").webgl = False
    pn.extension("tabulator", inline=inline, raw_css=[asset("css", "app.css").read_text(encoding="utf-8")])


def explore(
    shown: Any, text: str | None = None, *, corpora: Sequence[Corpus] = (), texts: Any = None, **more: Any
) -> AttentionAtlas:
    """The app on a model, a trace or a corpus: the last line of a cell, or `.page().servable()`.

    A corpus opens its model on one of its own texts, unless there is another. `corpora` are offered beside what is shown, each
    where its model is on screen. `texts` are gone through one after another at the side, the first of them at first: a file, or
    a list of texts, of pairs, of mappings with the columns, or a pandas table. `more`: `pair` and `target` of the text.
    """
    listed = NO_TEXTS if texts is None else (open_list if isinstance(texts, str | Path) else list_of)(texts, LONGEST_TEXT)
    if isinstance(shown, Corpus):
        corpora, text = (shown, *corpora), first_text(shown) if text is None else text
    elif not isinstance(shown, Trace) and text is None and not listed.texts:
        msg = "A model needs a text: atlas.explore(model, 'The text.')."
        raise UnknownName(msg)
    load_once(lambda: prepare(inline=True))
    app = AttentionAtlas()
    app.workspace.corpora.opened = named(corpora)
    if isinstance(shown, Corpus):
        app.workspace.display.tab = "corpus"
        shown = str(shown.provenance["model"])
    app.workspace.listed.put(listed)
    app.open(shown, text, **more)
    return app


def first_text(corpus: Corpus) -> str:
    """A text to open a corpus with: the first that it kept as an example."""
    kept = corpus.exemplars
    if kept.empty:
        msg = "This corpus has kept no text to begin with. Name one: atlas.explore(corpus, 'The text.')."
        raise UnknownName(msg)
    return str(kept["text"].iloc[0])
