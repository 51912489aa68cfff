// What tests ask the page about its plots.
const aa = {
  // Bokeh keeps everything in shadow roots: climb out of them.
  classes(el) {
    const found = []
    for (let at = el; at; at = at.parentNode ?? at.host) {
      if (at instanceof Element) { found.push(...at.classList) }
    }
    return found
  },

  figure(name) {
    const wanted = name.slice(1)
    for (const view of Bokeh.index.query(view => view.model.type === "Figure")) {
      if (view.el.isConnected && aa.classes(view.el).includes(wanted)) { return view }
    }
    return null
  },

  there(name) {
    const view = globalThis.Bokeh?.index && aa.figure(name)
    return Boolean(view?.frame?.bbox?.width && aa.glyphs(name).length)
  },

  glyphs(name) {
    return aa.figure(name).model.renderers.filter(each => each.glyph)
  },

  glyph(name, type, index) {
    const found = aa.glyphs(name).filter(each => each.glyph.type === type)
    if (!found[index]) { throw new Error(`${name} has no ${type} ${index}: ${aa.glyphs(name).map(each => each.glyph.type)}`) }
    return found[index]
  },

  columns(name, type, index) {
    const {data} = aa.glyph(name, type, index).data_source
    return Object.fromEntries([...(data instanceof Map ? data : Object.entries(data))].map(([key, values]) => [key, Array.from(values)]))
  },

  chosen(name, type, index) {
    return Array.from(aa.glyph(name, type, index).data_source.selected.indices)
  },

  raster(name) {
    const {data_source, glyph} = aa.glyph(name, "Image", 0)
    const data = data_source.data instanceof Map ? Object.fromEntries(data_source.data) : data_source.data
    const image = data.image[0], bytes = new Uint8Array(image.buffer ?? Uint8Array.from(image), image.byteOffset ?? 0, image.byteLength)
    let text = ""
    for (let at = 0; at < bytes.length; at += 32768) { text += String.fromCharCode(...bytes.subarray(at, at + 32768)) }
    return {bytes: btoa(text), dtype: image.dtype ?? "uint8", shape: image.shape, x: data.x[0], y: data.y[0],
      dw: data.dw[0], dh: data.dh[0], palette: Array.from(glyph.color_mapper.palette)}
  },

  ranges(name) {
    const {x_range, y_range} = aa.figure(name).model
    return [x_range.start, x_range.end, y_range.start, y_range.end]
  },

  labels(name, axis) {
    const {above, below, left, right} = aa.figure(name).model
    const found = (axis === "x" ? [...above, ...below] : [...left, ...right]).find(each => each.ticker)
    const given = found.major_label_overrides
    const names = given instanceof Map ? given : new Map(Object.entries(given))
    // A name is a string or, where Bokeh would take it for a formula, a model that holds one.
    return found.ticker.ticks.map(place => names.get(place) ?? names.get(String(place)) ?? null).map(name => name?.text ?? name)
  },

  canvas(name) {
    return aa.figure(name).canvas_view.el.getBoundingClientRect()
  },

  at(name, x, y) {
    const {frame} = aa.figure(name), box = aa.canvas(name)
    return [box.left + frame.x_scale.compute(x), box.top + frame.y_scale.compute(y)]
  },

  frame(name) {
    const {bbox} = aa.figure(name).frame, box = aa.canvas(name)
    return [box.left + bbox.left, box.top + bbox.top, box.left + bbox.right, box.top + bbox.bottom]
  },

  // Resolves when the frame has stayed in one place for some frames of animation: longer names on an axis push it aside.
  rest(name, frames) {
    return new Promise(resolve => {
      let last = "", same = 0
      const look = () => {
        const now = String(aa.frame(name))
        same = now === last ? same + 1 : 0
        last = now
        if (same >= frames) { resolve(aa.frame(name)) } else { requestAnimationFrame(look) }
      }
      look()
    })
  },

  tools(name) {
    return aa.figure(name).model.toolbar.tools.flatMap(tool => tool.tools ?? [tool])
  },

  active(name, title) {
    const found = aa.tools(name).filter(tool => (tool.description ?? tool.tool_name) === title || tool.tool_name === title)
    return found.some(tool => tool.active)
  },

  // Elements that match, in all shadow roots; with a text, those that hold it.
  count(selector, text = "", root = document) {
    const own = [...root.querySelectorAll(selector)].filter(el => el.textContent.includes(text)).length
    const roots = [...root.querySelectorAll("*")].flatMap(el => el.shadowRoot ?? [])
    return roots.reduce((sum, each) => sum + aa.count(selector, text, each), own)
  },

  // Whether a label of an axis is drawn as a formula.
  mathematics(name) {
    const axes = Bokeh.index.query(view => view.model.type.endsWith("Axis") && view.parent === aa.figure(name))
    const labels = [...axes].flatMap(view => [...(view._axis_label_view ? [view._axis_label_view] : []), ...(view._major_label_views?.values() ?? [])])
    return labels.some(view => view.model.type === "TeX" || view.model.type === "MathML")
  },

  // Resolves to whether a root carries a mark, and what came before it is drawn.
  async heard(mark) {
    if (!Bokeh.documents.some(each => each.roots().some(({tags}) => tags?.includes(mark)))) { return false }
    await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))
    return true
  },

  reset() {
    for (const view of Bokeh.index.query(view => view.model.type === "Figure")) { view.reset?.() }
  },
}
globalThis.aa = aa
