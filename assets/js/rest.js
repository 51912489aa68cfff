// Lets a table come to rest. Python: atlas/components/rest.py.
const TABLE = "panel.models.tabulator.DataTabulator"

// What of a view's style sheets is there; what is not will say so.
function watch(view) {
  const there = view._initialized_stylesheets
  if (!there) { return }
  for (const {el} of view._applied_stylesheets) {
    if (!(el instanceof HTMLLinkElement)) { continue }
    there.set(el.href, el.sheet !== null)
    el.addEventListener("load", () => { there.set(el.href, true) })
  }
}

export function render() {
  const View = window.Bokeh.Models.get(TABLE)?.prototype.default_view
  if (View && !View.prototype.aa_watched) {
    View.prototype.aa_watched = true
    const update = View.prototype._update_stylesheets
    View.prototype._update_stylesheets = function() {
      update.call(this)
      watch(this)
    }
    for (const view of window.Bokeh.index.query(({model}) => model.type === TABLE)) { watch(view) }
  }
  return document.createElement("div")
}
