// Watches a page from before its first script on. All times are performance.now(), the clock of event.timeStamp as well.
//
// `up`: when the browser saw the last pointer-up or turn of the wheel.
// `painted`: the end of the frame (the first task after its rendering) that follows the last change of a view in the window or the
//   last paint of a plot in it, whichever is later. What is below its edge nobody waits for; how busy the server is is no view.
// `trace`: when the Map showed a trace and nothing lay over the page any more; while it loads it is dimmed and takes no click.
// `last`: the last sign of life of any kind, which tells when a gesture is over.
(() => {
  const seen = {up: 0, painted: 0, last: 0, trace: 0, frames: 0, paints: 0}
  window.__seen = seen
  const alive = () => { seen.last = performance.now() }

  for (const name of ["pointerup", "wheel"]) {
    addEventListener(name, event => { seen.up = event.timeStamp; alive() }, {capture: true, passive: true})
  }

  const Plain = window.WebSocket
  window.WebSocket = class extends Plain {
    constructor(...given) {
      super(...given)
      this.addEventListener("message", alive)
    }
    send(data) {
      alive()
      super.send(data)
    }
  }

  // A frame callback runs before its frame is drawn; a message it posts arrives after.
  const after_this_frame = done => {
    const {port1, port2} = new MessageChannel()
    port1.onmessage = () => { done(performance.now()) }
    port2.postMessage(null)
  }
  const after_frame = done => requestAnimationFrame(() => after_this_frame(done))
  const on_screen = now => { seen.painted = Math.max(seen.painted, now) }

  // Whether a plot of the Map shows a trace: an image of more than one colour.
  function holds_trace(plot) {
    if (!plot.css_classes.includes("aa-map")) { return false }
    const images = plot.renderers.map(({data_source}) => data_source?.data?.image?.[0]).filter(image => image != null)
    return images.some(image => image.some(level => level !== image[0]))
  }

  const in_window = el => {
    const {top, bottom, width} = el.getBoundingClientRect()
    return width > 0 && bottom > 0 && top < innerHeight
  }

  // The element a model is shown by; none for what a plot is made of: the plot will be painted. Components keep their values in
  // a model of their own.
  const elements = new WeakMap()
  function element(model) {
    if (!elements.has(model)) {
      const [view] = Bokeh.index.query(each => each.model === model || each.model.data === model)
      elements.set(model, view?.el ?? null)
    }
    return elements.get(model)
  }

  function changed(event) {
    alive()
    const el = event.attr === "busy" || !event.model ? null : element(event.model)
    if (el && in_window(el)) { after_frame(on_screen) }
  }

  function watch_paints() {
    const view = Bokeh.Models.get("Plot").prototype.default_view.prototype
    const paint = view._actual_paint
    view._actual_paint = function() {
      paint.call(this)
      alive()
      if (in_window(this.el)) {
        seen.paints += 1
        after_this_frame(on_screen) // Bokeh paints in frame callbacks
      }
      drawn ||= holds_trace(this.model)
    }
  }

  const watched = new Set()
  function watch_documents() {
    for (const document of Bokeh.documents) {
      if (watched.has(document)) { continue }
      watched.add(document)
      document.on_change(changed)
    }
  }

  const covered = () => (document.getElementById("loader")?.style.display ?? "none") !== "none"

  let plots = false, drawn = false
  setInterval(() => {
    if (drawn && !seen.trace && !covered()) { after_frame(now => { seen.trace ||= now }) }
    if (!window.Bokeh?.Models) { return }
    if (!plots && Bokeh.Models.get("Plot")) {
      plots = true
      watch_paints()
    }
    watch_documents()
  }, 10)

  // Until nothing has happened for a while and the server has nothing left to do: it answers one thing at a time.
  seen.settled = async quiet => {
    for (;;) {
      for (let i = 0; i < 3; i++) { await fetch("/ping") }
      if (performance.now() - seen.last > quiet) { return }
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }

  // Where the inside of each plot is on the page, by the name of its view.
  seen.plots = () => {
    const found = {}
    for (const view of Bokeh.index.query(({model}) => model.type === "Figure")) {
      const name = view.model.css_classes.find(each => each.startsWith("aa-"))
      const {x, y} = view.canvas_view.el.getBoundingClientRect()
      const {x0, y0, width, height} = view.frame.bbox
      if (name) { found[name] = [x + x0, y + y0, width, height] }
    }
    return found
  }
})()
