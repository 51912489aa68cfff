// Two columns of tokens with lines between them. Python: atlas/components/link_lines.py.
const POINT = "Point at a token for its lines; click it to select it. Click a head to draw it or not, double-click for it alone, " +
  "Shift-click to select it."
const SVG = "http://www.w3.org/2000/svg"
const FONT = "Roboto, Helvetica, Arial, sans-serif"

// Pixels: of a row of tokens at least and at most, of all rows wanted, of a name, from a name to its lines.
const LEAST = 4, MOST = 18, WANTED = 900, FRAME = 636, READABLE = 14, NAME = 11, BESIDE = 10
// Lines of a token that the words under the plot name.
const NAMED = 6
// Opacity of the strongest line; the share of its own that a line keeps which has one selected end of two, or none.
const STRONG = 0.9, HALF = 0.5, FADED = 0.1
// Opacity grows faster than the weight where all lines are drawn, else thousands of weak ones lie over the strong ones as a haze;
// of one token alone it grows slower, so that its weak lines are seen.
const ALL_LINES = 1.5, OF_ONE = 0.5

const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

const decoded = (text, type) => {
  const letters = atob(text), bytes = new Uint8Array(letters.length)
  for (let i = 0; i < bytes.length; i++) { bytes[i] = letters.charCodeAt(i) }
  return new type(bytes.buffer)
}

const three = value => value >= 1e-4 ? String(Number(value.toPrecision(3))) : "< 0.0001"

export function render({model}) {
  const root = element("div", "aa-lines"), heads = element("div", "heads"), frame = element("div", "frame")
  const canvas = element("canvas"), readout = element("div", "readout", POINT)
  heads.setAttribute("role", "group")
  heads.setAttribute("aria-label", "Heads")
  canvas.tabIndex = 0
  canvas.setAttribute("role", "application")
  readout.setAttribute("aria-live", "polite")
  frame.append(canvas)
  root.append(heads, frame, readout)

  let links = {count: 0}, at = null, due = false

  // The token under the pointer or under the arrow keys: {side, at}; null: none.
  const names = side => side === "left" ? model.left : model.right
  const called = (side, i) => `${names(side)[i]} (${(side === "left" ? model.left_at : model.right_at)[i] ?? i})`
  const rows = () => Math.max(model.left.length, model.right.length, 1)
  // No row is cut where all of them fit in the frame without scrolling.
  const row = () => {
    const fitting = Math.min(MOST, FRAME / rows())
    return fitting >= READABLE ? fitting : Math.max(LEAST, Math.min(READABLE, WANTED / rows()))
  }
  const margin = width => Math.min(150, Math.max(60, width * 0.22))

  function unpack() {
    const {count = 0, left, right, head, weight} = model.links
    links = count ? {
      count, left: decoded(left, Uint16Array), right: decoded(right, Uint16Array), head: decoded(head, Uint16Array),
      weight: decoded(weight, Float32Array),
    } : {count: 0}
  }

  // The strongest come first, so the last drawn lie above: go backwards.
  function drawLines(ctx, x0, x1, high) {
    const looks = new Map(model.heads.map(each => [each.head, each]))
    const drawn = model.heads.filter(each => each.drawn).map(each => each.head)
    const place = new Map(drawn.map((head, i) => [head, drawn.length < 2 ? 0 : (i / (drawn.length - 1) - 0.5) * high * 0.6]))
    const left = new Set(model.selected_left), right = new Set(model.selected_right)
    const own = i => !at || links[at.side][i] === at.at
    let top = 0
    for (let i = 0; i < links.count && !top; i++) { top = own(i) ? links.weight[i] : 0 }
    ctx.lineWidth = Math.max(at ? 1.5 : 1, Math.min(2, high / 7))
    for (let i = links.count - 1; i >= 0; i--) {
      const from = links.left[i], to = links.right[i], look = looks.get(links.head[i])
      if (!look || !own(i)) { continue }
      const ends = at ? [] : [...(left.size ? [left.has(from)] : []), ...(right.size ? [right.has(to)] : [])]
      const lit = ends.every(Boolean) ? 1 : ends.some(Boolean) ? HALF : FADED
      ctx.globalAlpha = STRONG * lit * (links.weight[i] / top) ** (at ? OF_ONE : ALL_LINES)
      ctx.strokeStyle = look.colour
      ctx.setLineDash(look.dash)
      const shift = high / 2 + (place.get(look.head) ?? 0)
      ctx.beginPath()
      ctx.moveTo(x0, from * high + shift)
      ctx.lineTo(x1, to * high + shift)
      ctx.stroke()
    }
    ctx.globalAlpha = 1
    ctx.setLineDash([])
  }

  // Names that fit, every k-th; those of the token pointed at, of what it is linked with and of selected tokens before the others.
  function drawNames(ctx, side, x, high) {
    const all = names(side), chosen = new Set(side === "left" ? model.selected_left : model.selected_right)
    const linked = new Set()
    if (at && at.side !== side) {
      for (let i = 0; i < links.count; i++) {
        if (links[at.side][i] === at.at) { linked.add(links[side][i]) }
      }
    }
    const own = i => at?.side === side && at.at === i
    const every = Math.ceil(NAME / high), taken = new Set(), shown = []
    const take = i => {
      for (let near = i - every + 1; near < i + every; near++) { if (taken.has(near)) { return } }
      taken.add(i)
      shown.push(i)
    }
    if (own(at?.at)) { take(at.at) }
    for (const i of linked) { take(i) }
    for (const i of chosen) { take(i) }
    for (let i = 0; i < all.length; i += every) { take(i) }
    ctx.textAlign = side === "left" ? "right" : "left"
    ctx.textBaseline = "middle"
    const inner = side === "left" ? x + 3 : x - 6
    for (const i of chosen) {
      ctx.fillStyle = model.colours[side]
      ctx.fillRect(inner, i * high + 1, 3, Math.max(2, high - 2))
    }
    for (const i of shown) {
      const strong = own(i) || linked.has(i) || chosen.has(i)
      ctx.fillStyle = strong || !at ? model.colours.ink : model.colours.muted
      ctx.font = `${strong ? "600 " : ""}${Math.min(12, Math.max(10, high - 3))}px ${FONT}`
      const name = all[i].length > 16 ? `${all[i].slice(0, 15)}…` : all[i]
      ctx.fillText(name, x, (i + 0.5) * high)
    }
  }

  function draw() {
    due = false
    const width = Math.floor(frame.clientWidth), high = row(), height = Math.ceil(rows() * high) + 2
    if (!width) { return }
    const scale = window.devicePixelRatio || 1
    canvas.width = width * scale
    canvas.height = height * scale
    canvas.style.width = `${width}px`
    canvas.style.height = `${height}px`
    const ctx = canvas.getContext("2d"), side = margin(width)
    ctx.scale(scale, scale)
    if (!model.colours.ink) { return }
    drawLines(ctx, side + BESIDE, width - side - BESIDE, high)
    drawNames(ctx, "left", side, high)
    drawNames(ctx, "right", width - side, high)
  }

  function redraw() {
    if (!due) {
      due = true
      requestAnimationFrame(draw)
    }
  }

  function tell() {
    if (!at) {
      readout.replaceChildren(POINT)
      return
    }
    const other = at.side === "left" ? "right" : "left", found = []
    let count = 0
    for (let i = 0; i < links.count; i++) {
      if (links[at.side][i] !== at.at) { continue }
      if (count++ < NAMED) {
        const to = links[other][i]
        found.push(`${called(other, to)} ${three(links.weight[i])} H${links.head[i]}`)
      }
    }
    const more = count > NAMED ? ` · and ${count - NAMED} more` : ""
    const verb = at.side === "left" ? "looks at" : "is looked at by"
    const said = count ? ` ${verb} ${found.join(" · ")}${more}` : " has no line that is drawn"
    readout.replaceChildren(element("b", "", called(at.side, at.at)), said)
  }

  function point(to) {
    if (to?.side === at?.side && to?.at === at?.at) { return }
    at = to
    redraw()
    tell()
  }

  function under(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, side = margin(box.width)
    const column = x < side + 2 * BESIDE ? "left" : x > box.width - side - 2 * BESIDE ? "right" : ""
    const i = Math.floor((event.clientY - box.top) / row())
    return column && i >= 0 && i < names(column).length ? {side: column, at: i} : null
  }

  const pick = (token, event) => {
    model.send_msg({...token, additive: event.shiftKey || event.ctrlKey || event.metaKey})
  }

  canvas.addEventListener("pointermove", event => point(under(event)))
  canvas.addEventListener("pointerleave", () => point(null))
  canvas.addEventListener("blur", () => point(null))
  canvas.addEventListener("click", event => {
    const token = under(event)
    if (token) { pick(token, event) }
  })
  canvas.addEventListener("keydown", event => {
    const {key} = event, now = at ?? {side: "left", at: 0}
    const last = side => names(side).length - 1
    if (key === "ArrowDown" || key === "ArrowUp") {
      const to = at ? now.at + (key === "ArrowDown" ? 1 : -1) : 0
      point({side: now.side, at: Math.max(0, Math.min(last(now.side), to))})
    } else if (key === "ArrowLeft" || key === "ArrowRight") {
      const side = key === "ArrowLeft" ? "left" : "right"
      point({side, at: Math.min(now.at, last(side))})
    } else if (at && (key === "Enter" || key === " ")) {
      if (!event.repeat) { pick(at, event) }
    } else if (at && key === "Escape") {
      point(null)
    } else {
      return
    }
    event.preventDefault()
    event.stopPropagation()
  })

  function sample({colour, dash}) {
    const svg = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "line")
    svg.setAttribute("viewBox", "0 0 20 4")
    svg.setAttribute("aria-hidden", "true")
    const looks = {x1: 0, y1: 2, x2: 20, y2: 2, stroke: colour, "stroke-width": 3, "stroke-dasharray": dash.join(" ")}
    for (const [name, value] of Object.entries(looks)) { line.setAttribute(name, value) }
    svg.append(line)
    return svg
  }

  function swatches() {
    // The buttons of the same heads stay, because a button that is replaced loses the focus and the second click of two.
    if (heads.children.length !== model.heads.length + 1) {
      heads.replaceChildren(...model.heads.map(each => {
        const button = element("button", "", `H${each.head}`)
        button.type = "button"
        button.dataset.head = each.head
        button.append(sample(each))
        return button
      }), Object.assign(element("button", "all", "all"), {type: "button", title: "Draw all heads of the layer"}))
    }
    model.heads.forEach((each, i) => {
      const button = heads.children[i], selected = each.selected ? ", selected" : ""
      button.setAttribute("aria-pressed", String(each.drawn))
      button.classList.toggle("selected", each.selected)
      button.setAttribute("aria-label", `Head ${each.head}${selected}`)
    })
  }

  const press = (button, action) => {
    const head = button.dataset.head
    model.send_msg(head === undefined ? {action: "all"} : {action, head: Number(head)})
  }
  heads.addEventListener("click", event => {
    const button = event.target.closest("button")
    // The second click of a double click is no click of its own.
    if (button && event.detail < 2) { press(button, event.shiftKey ? "select" : "toggle") }
  })
  heads.addEventListener("dblclick", event => {
    const button = event.target.closest("button")
    if (button && !event.shiftKey) { press(button, "only") }
  })
  heads.addEventListener("keydown", event => {
    const button = event.target.closest("button")
    if (!button || event.altKey || !["Enter", " "].includes(event.key)) { return }
    // Not left to the browser, which need not say in its click which keys were held.
    if (!event.repeat) { press(button, event.shiftKey ? "select" : event.ctrlKey || event.metaKey ? "only" : "toggle") }
    event.preventDefault()
    event.stopPropagation()
  })
  // Firefox presses a button when the space bar is let go.
  heads.addEventListener("keyup", event => { if (event.key === " ") { event.preventDefault() } })
  // A click with Shift would select the letters up to here.
  heads.addEventListener("mousedown", event => { if (event.shiftKey) { event.preventDefault() } })

  const changed = () => {
    unpack()
    if (at && at.at >= names(at.side).length) { at = null }
    redraw()
    tell()
  }
  const dress = () => {
    root.classList.toggle("dark", model.dark)
    canvas.setAttribute("aria-label", model.label)
    redraw()
  }
  const resized = new ResizeObserver(redraw)
  resized.observe(frame)
  model.on(["links", "left", "right"], changed)
  model.on("heads", () => { swatches(); redraw() })
  model.on(["selected_left", "selected_right", "colours"], redraw)
  model.on(["dark", "label"], dress)
  model.on("remove", () => resized.disconnect())
  dress()
  swatches()
  changed()
  return root
}
