// Sets right what the page's libraries get wrong. Python: atlas/patches/browser.py.
const TABLE = "panel.models.tabulator.DataTabulator"
const REACT = "panel.models.esm.ReactComponent"
const SLIDER = "Slider"
// What holds a widget, and what holds none: a press on a plot or on a component of Atlas is no wish for a widget's value.
const WIDGET = ".bk-panel-models-esm-ReactComponent"
const HOSTS = `.bk-Figure, .bk-panel-models-esm-ReactiveESM, ${WIDGET}`
const STILL = `@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after {
    animation-duration: 1ms !important; animation-iteration-count: 1 !important; transition-duration: 1ms !important;
    transition-delay: 0s !important; scroll-behavior: auto !important;
  }
}`
// How many values that Python has replaced a widget remembers, so that one whose label counts for an hour does not remember all.
const REMEMBERED = 50

function view_of(type) {
  return window.Bokeh.Models.get(type)?.prototype.default_view?.prototype
}

// Mends a kind of view once on a page.
function once(type, ...patches) {
  const view = view_of(type)
  if (!view || Object.hasOwn(view, "aa_mended")) { return }
  view.aa_mended = true
  for (const patch of patches) { patch(view) }
}

// Panel's table (1.9) waits in a loop until the links to its style sheets are loaded, and when a theme adds a sheet, as
// panel-material-ui does twice, Bokeh replaces the links that it waits for: the page then spins for as long as it is open.
function rest(view) {
  const update = view._update_stylesheets
  view._update_stylesheets = function() {
    update.call(this)
    watch(this)
  }
  for (const there of window.Bokeh.index.query(({model}) => model.type === TABLE)) { watch(there) }
}

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

// It scrolls to every row it is told to select, one after the other, and each time the browser lays out the page: 30 milliseconds
// for ten rows, which are all in view.
function still(view) {
  const select = view.setSelection
  view.setSelection = function() {
    const table = this.tabulator
    if (table) { table.scrollToRow = () => Promise.resolve() }
    try {
      select.call(this)
    } finally {
      if (table) { delete table.scrollToRow }
    }
  }
}

// It is built with the rows of that moment, and takes no others until it is finished: where new ones come meanwhile, those before
// stay on the page.
function caught_up(view) {
  const {setData, tableBuilt} = view
  view.setData = function() {
    this.aa_missed ||= this._initializing || this._building || !this.tabulator.initialized
    return setData.call(this)
  }
  view.tableBuilt = function() {
    tableBuilt.call(this)
    if (this.aa_missed) {
      this.aa_missed = false
      void this.setData().then(() => this.postUpdate())
    }
  }
}

// Bokeh (3.9) takes in a plot's data step by step and lets others work in between. Where data of fewer rows came meanwhile, the
// rest of the steps for those before find columns too short, and nobody catches what they throw. The newer data have steps of
// their own.
function overtaken(view) {
  const take_in = view.set_data
  view.set_data = async function(...given) {
    const turn = this.aa_turn = (this.aa_turn ?? 0) + 1
    try {
      await take_in.apply(this, given)
    } catch (error) {
      if (turn === this.aa_turn) { throw error }
    }
  }
}

// Bokeh (3.9) asks for Ctrl where a wheel zooms with a modifier, and does not know that Cmd is the Ctrl of a Mac.
function commanded(view) {
  const scroll = view._scroll
  view._scroll = function(event) {
    const {native, modifiers} = event
    return scroll.call(this, native?.metaKey ? {...event, modifiers: {...modifiers, ctrl: true}} : event)
  }
}

// Bokeh (3.9) lays out the whole page once for each element that got another size, and once for each property that may change one:
// a tab that opens has some hundred of them, and the page stood still for seconds. One layout in the next frame does for all.
function gathered(view) {
  let layout = view
  while (!Object.hasOwn(layout, "compute_layout")) { layout = Object.getPrototypeOf(layout) }
  const {_after_resize: after_resize, invalidate_layout} = layout
  const root_of = each => {
    while (each.parent instanceof layout.constructor) { each = each.parent }
    return each
  }

  function await_layout(root, anew) {
    root.aa_anew ||= anew
    if (root.aa_awaits_layout) { return }
    root.aa_awaits_layout = true
    requestAnimationFrame(() => {
      if (root.aa_anew) { root.update_layout() }
      root.aa_awaits_layout = root.aa_anew = false
      root.compute_layout()
    })
  }

  layout._after_resize = function() {
    const root = root_of(this)
    if (!root._was_built) { return after_resize.call(this) }
    this._layout_computed = true
    await_layout(root, false)
  }
  layout.invalidate_layout = function() {
    const root = root_of(this)
    if (!root._was_built || !root._layout_computed) { return invalidate_layout.call(this) }
    await_layout(root, true)
  }
}

// The frame may come while a plot is still being built; it takes part in the layout that follows.
function unfinished(view) {
  for (const name of ["measure_layout", "after_layout"]) {
    const method = view[name]
    view[name] = function() {
      if (this.layout) { method.call(this) }
    }
  }
}

// Bokeh (3.9) builds the children of a column step by step. A second change that comes meanwhile builds those that are still to come
// once more, and of the two views of a card the page shows the one that is not kept up to date, or none.
function in_turn(view) {
  const {update_children} = view
  view.update_children = function() {
    const update = (this.aa_children ?? Promise.resolve()).then(() => update_children.call(this))
    this.aa_children = update.catch(() => {}) // the next change is tried whatever became of this one
    return update
  }
}

// It hears of changes once all its children are built; of one that came before nobody hears.
function complete(view) {
  const {connect_signals, render} = view
  view.connect_signals = function() {
    connect_signals.call(this)
    this.aa_incomplete = this.child_models.some(model => !this._child_views.has(model))
  }
  view.render = function() {
    render.call(this)
    if (this.aa_incomplete) {
      this.aa_incomplete = false // once only: what still has no view then would be asked for at every drawing
      void this.update_children()
    }
  }
}

// Bokeh (3.9) takes models that came from the server for new ones until it sends something, and then sends them back whole: a
// theme that gives a table on the page a style sheet makes the server warn of all the others.
function known() {
  const prototype = window.Bokeh.documents[0]?.constructor.prototype
  if (!prototype || Object.hasOwn(prototype, "aa_mended")) { return }
  prototype.aa_mended = true
  const {apply_json_patch, create_json_patch} = prototype
  const forget = (document, came) => {
    for (const model of document._new_models) {
      if (came.has(model.id)) { document._new_models.delete(model) }
    }
  }
  prototype.apply_json_patch = function(patch, ...given) {
    const came = collect(patch, new Set())
    this.aa_came = came // what changes in answer is sent before this returns
    try {
      return apply_json_patch.call(this, patch, ...given)
    } finally {
      forget(this, came)
      this.aa_came = undefined
    }
  }
  prototype.create_json_patch = function(events) {
    if (this.aa_came) { forget(this, this.aa_came) }
    return create_json_patch.call(this, events)
  }
}

// The ids of the models that a message brings.
function collect(part, ids) {
  if (Array.isArray(part)) {
    if (typeof part[0] !== "number") { for (const each of part) { collect(each, ids) } }
  } else if (part !== null && typeof part === "object" && !ArrayBuffer.isView(part) && !(part instanceof ArrayBuffer)) {
    if (part.type === "object" && part.id !== undefined) { ids.add(part.id) }
    for (const each of Object.values(part)) { collect(each, ids) }
  }
  return ids
}

let touched = -Infinity // when the reader last did something where a widget may be; a menu lies on the page itself
for (const name of ["pointerdown", "pointerup", "keydown", "input"]) {
  addEventListener(name, event => {
    const host = event.composedPath().find(each => each.matches?.(HOSTS))
    if (host?.matches(WIDGET) ?? true) { touched = performance.now() }
  }, {capture: true, passive: true})
}

// Panel's React components (1.9) write into their model what they show, once React has come to it, which on a busy machine may be
// seconds later. Where Python has said something else meanwhile, it is told that the reader wants what it said before, and believes
// it. Nobody can want that who has not touched a widget since.
function heard(view) {
  const start = view.initialize
  view.initialize = function() {
    start.call(this)
    listen(this.model.data)
  }
  for (const {model} of window.Bokeh.index.query(({model}) => model.type === REACT)) { listen(model.data) }
}

function listen(data) {
  if (!data || Object.hasOwn(data, "setv")) { return }
  const {setv} = data
  let replaced = [] // what Python has put something else in the place of
  const outdated = ([name, value]) => replaced.some(each => each.name === name && each.value === value)
  data.setv = function(values, options = {}) {
    replaced = replaced.filter(({at}) => at > touched)
    if (options.sync === false) {
      const at = performance.now()
      replaced.push(...Object.keys(values).map(name => ({name, value: this.properties[name]?.get_value(), at})))
      replaced = replaced.slice(-REMEMBERED)
      return setv.call(this, values, options)
    }
    return setv.call(this, Object.fromEntries(Object.entries(values).filter(each => !outdated(each))), options)
  }
}

// Bokeh (3.9) writes the title of a slider beside it, and a screen reader is told of the handle, which has no name.
function named(view) {
  const update = view._update_title
  view._update_title = function() {
    update.call(this)
    name_handles(this)
  }
  for (const there of window.Bokeh.index.query(({model}) => model.type === SLIDER)) { name_handles(there) }
}

function name_handles({model, slider_el}) {
  for (const handle of slider_el?.querySelectorAll(".noUi-handle") ?? []) { handle.setAttribute("aria-label", model.title ?? "") }
}

// What the libraries draw moves whatever the reader's system asks for, and no style sheet of a page reaches into their shadow roots.
function calm() {
  const asked = matchMedia("(prefers-reduced-motion: reduce)")
  if (window.aa_calm || !asked.matches) {
    asked.addEventListener("change", calm, {once: true})
    return
  }
  const sheet = window.aa_calm = new CSSStyleSheet()
  sheet.replaceSync(STILL)
  const settle = root => {
    if (!root.adoptedStyleSheets.includes(sheet)) { root.adoptedStyleSheets.push(sheet) }
    for (const {shadowRoot} of root.querySelectorAll("*")) {
      if (shadowRoot) { settle(shadowRoot) }
    }
  }
  const {attachShadow} = Element.prototype
  Element.prototype.attachShadow = function(...given) {
    const root = attachShadow.apply(this, given)
    settle(root)
    return root
  }
  settle(document)
  // What is made already may not be on the page yet.
  for (const {shadow_el} of window.Bokeh.index.query(() => true)) {
    if (shadow_el) { settle(shadow_el) }
  }
}

export function render() {
  calm()
  once(TABLE, rest, still, caught_up)
  once(REACT, heard)
  once("GlyphRenderer", overtaken)
  once("WheelZoomTool", commanded)
  once("Column", gathered)
  once("Figure", unfinished)
  once(SLIDER, named)
  once("panel.models.layout.Column", in_turn, complete)
  known()
  return document.createElement("div")
}
