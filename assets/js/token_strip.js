// The text itself, token by token. Text reaches the page as text nodes only.
// Python: atlas/components/token_strip.py, which sends each token as a row in this order.
const POSITION = 0, TEXT = 1, GAP = 2, WORD = 3, SPECIAL = 4, POS = 5, ENTITY = 6, SENTENCE = 7
// A weight comes as one of so many steps.
const STEPS = 1000

// Ends a paragraph, as Unicode says (UAX 14), besides the vertical tab and form feed, which are shown as pictures.
const BREAK = /\r\n|[\n\r\u0085\u2028\u2029]/
const BREAKS = new RegExp(BREAK, "g")
// Nobody sees these, and some (overrides, isolates) would turn the rest of the line around.
const UNSEEN = /[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu
const REORDERS = /[\u202a-\u202e\u2066-\u2069]/g
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g
const POINTS = code => `U+${code.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`

function picture(control) {
  const code = control.charCodeAt(0)
  if (code < 0x20) { return String.fromCharCode(0x2400 + code) }
  return code === 0x7f ? "\u2421" : `\u2039${POINTS(control)}\u203a`
}

// What a token shows: its text, with a picture for whatever has none.
function shown(text) {
  if (text === "") { return "\u2205" }
  // Spaces at the end of a line hang out of sight; these do not.
  if (/^ +$/.test(text)) { return "\u00a0".repeat(text.length) }
  if (text.replace(UNSEEN, "") === "") { return [...text].map(char => `\u2039${POINTS(char)}\u203a`).join("") }
  return text
    .replace(/\t/g, "\u21e5")
    .replace(BREAKS, "\u21b5")
    .replace(CONTROL, picture)
    .replace(REORDERS, char => `\u2039${POINTS(char)}\u203a`)
}

// Names that Atlas writes for bytes and for what nobody sees: they are Latin, in whatever script the text is.
const NAMES = /^(?:<0x[0-9A-F]{2}>|<U\+[0-9A-F]{4,6}>|\u2039U\+[0-9A-F]{4,6}\u203a)+$/

const FROM_RIGHT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u
const RIGHT_TO_LEFT_MARK = "\u200f"

// Black or white, whichever stands out more (relative luminance as in WCAG 2).
function ink(colour) {
  const hex = colour.length === 4 ? [...colour.slice(1)].map(c => c + c).join("") : colour.slice(1, 7)
  const [r, g, b] = [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff"
}

const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

export function render({model}) {
  const root = element("div", "strip")
  const fold = element("button", "fold", "\u25b8")
  const note = element("div", "note")
  const scroll = element("div", "scroll")
  const hint = element("div", "unseen", "Arrow keys move, Enter or Space selects, with Control one more, " +
    "with Shift a range; Escape clears.")
  const tip = element("div", "tip")
  hint.id = "hint"
  tip.setAttribute("role", "tooltip")
  tip.popover = "manual"
  scroll.setAttribute("role", "listbox")
  scroll.setAttribute("aria-multiselectable", "true")
  scroll.setAttribute("aria-orientation", "horizontal")
  scroll.setAttribute("aria-describedby", "hint")
  fold.type = "button"
  fold.addEventListener("click", () => { model.folded = !model.folded })
  root.append(fold, scroll, note, hint, tip)

  let spans = []           // one element a token, in order
  let painted = []         // what each was painted with, so that only what differs is touched
  let marked = new Set()   // indices that carry a mark
  let indexOf = new Map()  // position -> index
  let current = 0          // the one the Tab key reaches
  let anchor = null        // where a range begins
  let reach = null         // where the last pick ended: Shift and an arrow go on from there
  let drag = null          // {from, to, toggle} while the pointer is down

  const at = i => model.tokens[i]
  const position = i => at(i)[POSITION]
  const range = (a, b) => {
    const [from, to] = a < b ? [a, b] : [b, a]
    return Array.from({length: to - from + 1}, (_, k) => position(from + k))
  }

  // -- the text: built only when the tokens change ------------------------------------------------------------------

  function build() {
    spans = []
    painted = []
    marked = new Set()
    indexOf = new Map()
    current = 0
    anchor = reach = null
    drag = null
    hide()
    const page = document.createDocumentFragment()
    let paragraph = null
    const begin = () => {
      paragraph = element("div", "paragraph")
      paragraph.dir = model.direction
      page.append(paragraph)
    }
    begin()
    let fromRight = false
    model.tokens.forEach((token, i) => {
      const lines = token[GAP].split(BREAK)
      lines.forEach((white, k) => {
        if (k > 0) { begin() }
        if (white) { paragraph.append(white) }
      })
      const span = element("span", "token", shown(token[TEXT]))
      span.dataset.i = i
      span.tabIndex = i === 0 ? 0 : -1
      span.setAttribute("role", "option")
      span.setAttribute("aria-selected", "false")
      if (token[SPECIAL]) {
        // Its own direction: "[CLS]" must not decide the direction of an Arabic text.
        span.classList.add("special")
        span.dir = "ltr"
      } else if (NAMES.test(span.textContent)) {
        // Else the brackets of "<0x85>" would be torn apart beside Arabic letters, and the name would decide a direction.
        span.classList.add("named")
        span.dir = "ltr"
      }
      if (i > 0 && token[WORD] >= 0 && token[WORD] === at(i - 1)[WORD] && token[GAP] === "") { span.classList.add("welded") }
      indexOf.set(token[POSITION], i)
      spans.push(span)
      paragraph.append(span)
      if (!span.classList.contains("named")) {
        fromRight = FROM_RIGHT.test(token[TEXT])
      } else if (fromRight) {
        // The name of the last byte of an Arabic word stands at the end of the word, not in front of it.
        paragraph.append(RIGHT_TO_LEFT_MARK)
      }
      // A token that ends a line ends it on screen as well.
      if (BREAK.test(token[TEXT]) && !token[SPECIAL] && i + 1 < model.tokens.length) { begin() }
    })
    scroll.replaceChildren(page)
    scroll.scrollTop = scroll.scrollLeft = 0
    direct()
    note.textContent = model.left_out > 0 ? `${model.left_out.toLocaleString("en")} more tokens are not shown here.` : ""
    paint()
    underline()
    mark()
  }

  // -- paint and marks: styles only ----------------------------------------------------------------------------------

  function paint() {
    const {weights, palette} = model
    const inks = palette.map(ink)
    const bare = weights.length === 0 || palette.length === 0
    const last = palette.length - 1
    spans.forEach((span, i) => {
      const step = bare ? undefined : weights[i] ?? null
      const colour = step == null ? step : palette[Math.round(Math.min(Math.max(step / STEPS, 0), 1) * last)]
      if (colour === painted[i]) { return }
      painted[i] = colour
      span.classList.toggle("unknown", colour === null)
      span.style.backgroundColor = colour ?? ""
      span.style.color = colour ? inks[palette.indexOf(colour)] : ""
    })
  }

  function mark() {
    const from = new Set(model.selected_from), to = new Set(model.selected_to)
    const now = new Set()
    for (const chosen of [from, to]) {
      for (const p of chosen) { if (indexOf.has(p)) { now.add(indexOf.get(p)) } }
    }
    for (const i of new Set([...marked, ...now])) {
      const span = spans[i], p = position(i)
      span.classList.toggle("from", from.has(p))
      span.classList.toggle("to", to.has(p))
      span.setAttribute("aria-selected", String(now.has(i)))
      if (now.has(i)) { span.setAttribute("aria-label", named(i)) } else { span.removeAttribute("aria-label") }
    }
    marked = now
    const seen = [...now].sort((a, b) => a - b)
    if (seen.length && !drag && !seen.some(visible)) { reveal(seen[0]) }
  }

  function underline() {
    spans.forEach((span, i) => span.classList.toggle("noted", Boolean(model.notes[i])))
  }

  function named(i) {
    const p = position(i)
    const from = model.selected_from.includes(p), to = model.selected_to.includes(p)
    const role = from && to ? "selected as from and to" : from ? "selected as from" : to ? "selected as to" : ""
    return [shown(at(i)[TEXT]), ...facts(i), role].filter(Boolean).join(", ")
  }

  const value = i => model.values[i] ? `${model.meaning} ${model.values[i]}`.trim() : ""
  const facts = i => [`position ${position(i)}`, value(i), model.notes[i], at(i)[POS], at(i)[ENTITY],
    at(i)[SENTENCE] >= 0 ? `sentence ${at(i)[SENTENCE] + 1}` : ""].filter(Boolean)

  // -- where things are ----------------------------------------------------------------------------------------------

  function visible(i) {
    const box = scroll.getBoundingClientRect(), own = spans[i].getBoundingClientRect()
    return own.bottom > box.top && own.top < box.bottom && own.right > box.left && own.left < box.right
  }

  // Only this box scrolls: scrollIntoView would move the page under the reader.
  function reveal(i) {
    const box = scroll.getBoundingClientRect(), own = spans[i].getBoundingClientRect()
    if (own.top < box.top) { scroll.scrollTop -= box.top - own.top + 6 }
    else if (own.bottom > box.bottom) { scroll.scrollTop += Math.min(own.bottom - box.bottom + 6, own.top - box.top) }
    // On the one line of a folded text a token is brought to the middle, so that what stands around it can be read.
    if (own.left < box.left || own.right > box.right) {
      scroll.scrollLeft += (own.left + own.right - box.left - box.right) / 2
    }
  }

  // A folded text is one line of all paragraphs, and begins where its first one begins.
  function direct() {
    const first = scroll.firstElementChild
    // Asked for by selector: before it is on the page an element has a direction and no style.
    scroll.dir = model.folded && first ? (first.matches(":dir(rtl)") ? "rtl" : "ltr") : ""
    edges()
  }

  // Which ends of the line lie out of sight: they fade, so that nobody takes what is there for the whole text.
  function edges() {
    const room = scroll.scrollWidth - scroll.clientWidth, at = Math.abs(scroll.scrollLeft)
    const [before, after] = [model.folded && at > 1, model.folded && room - at > 1]
    const back = scroll.dir === "rtl"
    scroll.classList.toggle("more-left", back ? after : before)
    scroll.classList.toggle("more-right", back ? before : after)
  }

  // The lines as they are on screen: [{i, left, right}, ...] each, from left to right.
  function lines() {
    const found = []
    let foot = -Infinity, paragraph = null
    spans.forEach((span, i) => {
      for (const box of span.getClientRects()) {
        if (span.parentNode !== paragraph || box.top + box.height / 2 > foot) { found.push([]) }
        paragraph = span.parentNode
        foot = box.bottom
        found.at(-1).push({i, left: box.left, right: box.right})
      }
    })
    for (const line of found) { line.sort((a, b) => a.left - b.left) }
    return found
  }

  function beside(i, step) {
    const all = lines()
    const reads = getComputedStyle(spans[i].parentNode).direction === "rtl" ? -step : step
    const mine = all.map((line, k) => line.some(box => box.i === i) ? k : -1).filter(k => k >= 0)
    const k = reads > 0 ? mine.at(-1) : mine[0]
    const place = all[k].findIndex(box => box.i === i) + step
    if (all[k][place]) { return all[k][place].i }
    const next = all[k + reads]
    return next ? next.at(step > 0 ? 0 : -1).i : i
  }

  function below(i, step) {
    const all = lines()
    const mine = all.map((line, k) => line.some(box => box.i === i) ? k : -1).filter(k => k >= 0)
    const k = step > 0 ? mine.at(-1) : mine[0]
    const next = all[k + step]
    if (!next) { return i }
    const own = all[k].find(box => box.i === i), x = (own.left + own.right) / 2
    const far = box => Math.max(box.left - x, x - box.right, 0)
    return next.reduce((best, box) => far(box) < far(best) ? box : best).i
  }

  // -- picking -------------------------------------------------------------------------------------------------------

  const send = (positions, mode) => model.send_msg({positions, mode})

  function pick(i, {toggle, extend}) {
    reach = i
    if (extend) {
      anchor ??= i
      return send(range(anchor, i), "extend")
    }
    anchor = i
    if (toggle) { return send([position(i)], "toggle") }
    const held = new Set([...(model.axis === "to" ? [] : model.selected_from), ...(model.axis === "from" ? [] : model.selected_to)])
    const alone = held.size === 1 && held.has(position(i))
    send(alone ? [] : [position(i)], "replace")
  }

  function focus(i) {
    spans[current].tabIndex = -1
    if (!marked.has(current)) { spans[current].removeAttribute("aria-label") }
    current = i
    spans[i].tabIndex = 0
    spans[i].setAttribute("aria-label", named(i))
    spans[i].focus({preventScroll: true})
    reveal(i)
  }

  const hit = target => {
    const span = target instanceof Element ? target.closest(".token") : null
    return span ? Number(span.dataset.i) : null
  }

  function span_under(event) {
    return hit(scroll.getRootNode().elementFromPoint(event.clientX, event.clientY))
  }

  function sweep(to) {
    drag.to = to
    const [from, end] = drag.from < to ? [drag.from, to] : [to, drag.from]
    spans.forEach((span, i) => span.classList.toggle("swept", drag.from !== to && i >= from && i <= end))
  }

  scroll.addEventListener("pointerdown", event => {
    const i = hit(event.target)
    if (event.button !== 0 || i === null) { return }
    drag = {from: i, to: i, toggle: event.ctrlKey || event.metaKey, extend: event.shiftKey, pointer: event.pointerId}
    // A finger scrolls; only a mouse or pen sweeps.
    if (event.pointerType !== "touch") { scroll.setPointerCapture(event.pointerId) }
  })
  scroll.addEventListener("pointermove", event => {
    if (!drag || drag.pointer !== event.pointerId || event.pointerType === "touch") { return }
    const i = span_under(event)
    if (i !== null && i !== drag.to) { sweep(i) }
  })
  scroll.addEventListener("pointerup", event => {
    if (!drag || drag.pointer !== event.pointerId) { return }
    const {from, to, toggle, extend} = drag
    sweep(from)
    drag = null
    focus(to)
    if (from === to) { return pick(to, {toggle, extend}) }
    anchor = from
    reach = to
    send(range(from, to), toggle ? "toggle" : "replace")
  })
  scroll.addEventListener("pointercancel", () => {
    if (drag) { sweep(drag.from) }
    drag = null
  })
  // A screen reader's click comes without a pointer.
  scroll.addEventListener("click", event => {
    const i = hit(event.target)
    if (event.detail === 0 && i !== null) { pick(i, {}) }
  })

  const MOVES = {
    ArrowLeft: i => beside(i, -1),
    ArrowRight: i => beside(i, 1),
    ArrowUp: i => below(i, -1),
    ArrowDown: i => below(i, 1),
    Home: () => 0,
    End: () => spans.length - 1,
  }

  scroll.addEventListener("keydown", event => {
    if (!spans.length || event.altKey) { return }
    const move = MOVES[event.key]
    if (move) {
      const from = current
      focus(move(current))
      if (event.shiftKey) {
        if (reach !== from) { anchor = from }
        pick(current, {extend: true})
      }
    } else if (event.key === "Enter" || event.key === " ") {
      pick(current, {toggle: event.ctrlKey || event.metaKey, extend: event.shiftKey})
    } else if (event.key === "Escape") {
      hide()
      // With no token to let go of, the key means what it means anywhere on the page.
      if (!model.selected_from.length && !model.selected_to.length) { return }
      model.send_msg({positions: [], mode: "replace", clear: true})
    } else {
      return
    }
    event.preventDefault()
    event.stopPropagation()
  })

  // -- what a token says under the pointer or the focus --------------------------------------------------------------

  function tell(i) {
    tip.replaceChildren(element("b", "", shown(at(i)[TEXT])), ...facts(i).map(fact => element("div", "", fact)))
    if (!tip.matches(":popover-open")) { tip.showPopover() }
    const own = spans[i].getClientRects()[0], box = tip.getBoundingClientRect()
    const left = Math.min(Math.max(own.left, 4), innerWidth - box.width - 4)
    const under = own.bottom + 8 + box.height < innerHeight
    tip.style.left = `${Math.max(left, 4)}px`
    tip.style.top = `${under ? own.bottom + 8 : Math.max(own.top - box.height - 8, 4)}px`
  }

  function hide() {
    if (tip.isConnected && tip.matches(":popover-open")) { tip.hidePopover() }
  }

  scroll.addEventListener("pointerover", event => {
    const i = hit(event.target)
    if (i === null || event.pointerType === "touch") { hide() } else { tell(i) }
  })
  scroll.addEventListener("pointerleave", hide)
  scroll.addEventListener("scroll", () => {
    hide()
    edges()
  })
  scroll.addEventListener("focusin", event => {
    const i = hit(event.target)
    if (i === null) { return }
    if (i !== current) {
      spans[current].tabIndex = -1
      current = i
      spans[i].tabIndex = 0
    }
    spans[i].setAttribute("aria-label", named(i))
    if (spans[i].matches(":focus-visible")) { tell(i) }
  })
  scroll.addEventListener("focusout", hide)

  // -- changes from Python -------------------------------------------------------------------------------------------

  function dress() {
    root.classList.toggle("dark", model.dark)
    root.classList.toggle("busy", model.busy)
    scroll.setAttribute("aria-busy", String(model.busy))
    scroll.setAttribute("aria-label", model.label)
    scroll.style.setProperty("--lines", model.lines)
    root.classList.toggle("folded", model.folded)
    root.classList.toggle("foldable", model.foldable)
    fold.setAttribute("aria-expanded", String(!model.folded))
    fold.title = model.folded ? "Show the whole text" : "Show one line of the text"
    fold.setAttribute("aria-label", fold.title)
    direct()
  }

  // One message may change several fields: each kind of work is done once, before the next frame.
  const due = new Set()
  const once = work => () => {
    if (due.has(work)) { return }
    due.add(work)
    queueMicrotask(() => {
      due.delete(work)
      // A rebuild paints, underlines and marks; by then all is done.
      if (work !== build && due.has(build)) { return }
      work()
    })
  }
  model.on(["tokens", "direction", "left_out"], once(build))
  model.on(["weights", "palette"], once(paint))
  model.on(["notes"], once(underline))
  model.on(["selected_from", "selected_to"], once(mark))
  model.on(["dark", "busy", "label", "lines", "folded", "foldable"], once(dress))
  const sized = new ResizeObserver(edges)
  sized.observe(scroll)
  model.on("remove", () => sized.disconnect())
  dress()
  build()
  return root
}
