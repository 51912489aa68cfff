"""What the jobs of the state mean to the engine: the run of a job, its preparation, the models that can be chosen."""

from __future__ import annotations

from collections.abc import Callable

from atlas.admission import in_bytes
from atlas.engine.loading.catalog import entries, on_disk
from atlas.engine.loading.fetching import download_size, needs_download
from atlas.engine.loading.rules import ModelRules
from atlas.engine.running.service import Request, Run, Service
from atlas.errors import AtlasError
from atlas.scheduler import Ticket
from atlas.state.library import Listed
from atlas.state.pipeline import Job
from atlas.state.restore import HUB, MEMORY
from atlas.trace import Trace
from atlas.tracing import groups


def preparation(trace: Trace) -> Callable[[Ticket], None] | None:
    """The work to do before a trace is shown, so that the views of heads are drawn only once; None if it is done."""
    if groups.is_prepared(trace):
        return None

    def prepare(ticket: Ticket) -> None:
        ticket.tell("tracing", "Measuring every head")
        groups.prepare(trace)

    return prepare


def worked_out(service: Service, job: Job, ticket: Ticket) -> Trace:
    """The trace of a job, prepared for its first view, computed in the calling thread."""
    trace = service.run(run_of(job), ticket)
    prepare = preparation(trace)
    if prepare is not None:
        prepare(ticket)
    return trace


def run_of(job: Job) -> Run:
    """The engine's run for a job."""
    return Run(
        job.model, job.text, job.pair, job.target, job.truncate, job.ablate, job.knock_out, job.regenerate, job.spans, job.chat
    )


def where_is(service: Service, name: str, revision: str) -> str:
    """Where a link's model is: in memory, on the hub alone, or here. Does not ask the hub."""
    if service.was_given(name):
        return MEMORY
    if not service.fetches or service.has((name, revision or None, None, None)):
        return "here"
    return HUB if needs_download(name, revision or None, service.rules) else "here"


def takes_target(service: Service, wanted: Request) -> bool:
    """Whether a model is known as an encoder-decoder: it is loaded, or in the catalog. Loads nothing."""
    if service.has(wanted):
        return "cross" in service.model(wanted, Ticket()).kinds
    return any(wanted[0] in entry.names and "cross" in entry.kinds for entry in entries())


def size_of_download(service: Service, name: str, revision: str) -> str:
    """What fetching a model takes, in words; asks the hub."""
    try:
        size = download_size(name, revision or None, service.rules)
    except AtlasError as error:
        return str(error)
    return f"The download takes {in_bytes(size)}."


def listed_models(rules: ModelRules | None = None) -> list[Listed]:
    """The models of the catalog that can be traced, and those of the folders that an operator has named."""
    found = []
    for entry in entries():
        if not entry.traceable:
            continue
        if rules is not None and entry.hub_id is not None and not rules.allows(entry.hub_id):
            continue
        where = "here" if entry.embedded else "on disk" if on_disk(entry) is not None else "hub"
        layers = f"{entry.layers} + {entry.decoder_layers}" if entry.decoder_layers else f"{entry.layers}"
        size = f"{layers} layers × {entry.heads} heads, {entry.parameters / 1e6:,.0f} M parameters"
        found.append(Listed(entry.name, where, size, entry.good_for))
    known = {listed.name for listed in found}
    folders = [] if rules is None else [name for name in rules.listed() if name not in known]
    return [*found, *(Listed(name, "on disk", "A folder of this server", "Its operator offers it.") for name in folders)]
