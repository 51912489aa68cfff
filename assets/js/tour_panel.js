// The panel of a guided tour, in the strip that stays above the cards, and the frame around the card it speaks of.
// Python: atlas/components/tour_panel.py.
const KEY = "tour"       // part of the address
const LOOK = 150         // milliseconds between two looks for the card: its tab may still be filled
const LONGEST = 8000     // milliseconds for which the card is kept in place while those above it grow
const GAP = 10           // pixels between the strip and the card
const FRAME = "3px solid"
const TAKES_OVER = ["wheel", "touchmove", "pointerdown", "keydown"]

const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

// The first match on the page, through the shadow roots in which Bokeh keeps everything.
function find(selector, root) {
  const here = root.querySelector(selector)
  if (here) { return here }
  for (const el of root.querySelectorAll("*")) {
    const found = el.shadowRoot && find(selector, el.shadowRoot)
    if (found) { return found }
  }
  return null
}

// The element that scrolls what a card is in.
function scroller(el) {
  for (let each = el; each; each = each.assignedSlot ?? each.parentElement ?? each.getRootNode().host) {
    if (each.scrollHeight > each.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(each).overflowY)) { return each }
  }
  return document.scrollingElement
}

function name(tour) {
  const parts = location.search.slice(1).split("&").filter(part => part && part !== KEY && !part.startsWith(`${KEY}=`))
  const query = (tour ? [`${KEY}=${encodeURIComponent(tour)}`, ...parts] : parts).join("&")
  const address = location.pathname + (query ? `?${query}` : "") + location.hash
  if (address !== location.pathname + location.search + location.hash) { history.replaceState(history.state, "", address) }
}

export function render({model}) {
  const root = element("section", "tour"), told = element("div", "told"), head = element("div", "head")
  const title = element("strong"), count = element("span", "count"), words = element("p", "words"), note = element("p", "note")
  const buttons = element("div", "buttons"), parts = {}
  for (const [ask, label] of [["again", "Show it again"], ["back", "Back"], ["next", "Next"], ["leave", "Leave"]]) {
    parts[ask] = element("button", ask, label)
    parts[ask].type = "button"
    parts[ask].addEventListener("click", () => { if (parts[ask].getAttribute("aria-disabled") !== "true") { model.send_msg(ask) } })
    buttons.append(parts[ask])
  }
  root.setAttribute("aria-label", "Guided tour")
  told.setAttribute("role", "status")
  told.setAttribute("aria-live", "polite")
  head.append(title, count)
  told.append(head, words, note)
  root.append(told, buttons)

  let framed = null, strip = null, timer = null, until = 0, before = null

  function unframe() {
    if (framed) { framed.style.outline = framed.style.outlineOffset = "" }
    framed = null
  }

  function stop() {
    clearInterval(timer)
    timer = null
  }

  function look() {
    if (!root.isConnected || performance.now() > until) { return stop() }
    if (!model.card) { return }  // the tour is told before its card
    const selector = `.${CSS.escape(model.card)}`
    const card = framed?.isConnected && framed.matches(selector) ? framed : find(selector, document)
    if (!card || card.getBoundingClientRect().height === 0) { return }
    if (card !== framed) {
      unframe()
      framed = card
      card.style.outline = `${FRAME} ${model.dark ? "#e69f00" : "#0072b2"}`
      card.style.outlineOffset = "1px"
    }
    if (!strip?.isConnected) { strip = find(".aa-sticky", document) }
    const page = scroller(card)
    // The strip sticks to the top of what scrolls; while the header is still above it, it is as high as it will be below.
    const top = Math.max(page === document.scrollingElement ? 0 : page.getBoundingClientRect().top, 0)
    const off = card.getBoundingClientRect().top - (top + (strip?.getBoundingClientRect().height ?? 0) + GAP)
    if (Math.abs(off) > 2) { page.scrollTop += off }
  }

  // Who scrolls or presses something elsewhere has taken over.
  function rest(event) {
    if (event.composedPath().includes(root)) { return }
    stop()
  }

  function show() {
    stop()
    if (!model.tour) {
      unframe()
      return
    }
    until = performance.now() + LONGEST
    timer = setInterval(look, LOOK)
    look()
  }

  function opened() {
    if (model.tour && before === null) {
      const card = find(".aa-stage", document)
      const page = card && scroller(card)
      before = page ? [page, page.scrollTop] : null
    }
    if (!model.tour && before !== null) {
      const [page, at] = before
      before = null
      unframe()
      stop()
      page.scrollTop = at
    }
    name(model.tour)
  }

  function update() {
    root.hidden = model.tour === ""
    root.classList.toggle("dark", model.dark)
    title.textContent = model.title
    count.textContent = model.of ? `step ${model.step} of ${model.of}` : ""
    if (words.textContent !== model.words) { words.textContent = model.words }
    if (note.textContent !== model.note) { note.textContent = model.note }
    parts.again.hidden = !model.away
    // Not `disabled`: the key focus would be lost with the button that was pressed last.
    parts.back.setAttribute("aria-disabled", String(model.step <= 1))
    parts.next.setAttribute("aria-disabled", String(model.step >= model.of))
    if (framed) { framed.style.outlineColor = model.dark ? "#e69f00" : "#0072b2" }
  }

  // Keys of the page move the head in focus and clear the selection.
  root.addEventListener("keydown", event => { if (event.key.startsWith("Arrow")) { event.stopPropagation() } })
  for (const kind of TAKES_OVER) { addEventListener(kind, rest, {passive: true}) }
  model.on(["title", "step", "of", "words", "note", "away", "dark"], update)
  model.on("tour", () => {
    update()
    opened()
    show()
  })
  model.on(["card", "step", "words"], show)
  model.on("remove", () => {
    stop()
    unframe()
    for (const kind of TAKES_OVER) { removeEventListener(kind, rest) }
  })
  update()
  if (model.tour) {
    opened()
    show()
  }
  return root
}
