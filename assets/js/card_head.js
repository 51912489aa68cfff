// The top of a card: its question, the line that says what is shown now, help and enlarge. Python: atlas/components/card.py.
const HEADING = 140  // pixels of a card's question and controls

const PIN = "Pin to the findings"

const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

function button(name, label, sign) {
  const el = element("button", name)
  el.type = "button"
  el.title = label
  el.setAttribute("aria-label", label)
  const icon = element("span", "", sign)
  icon.setAttribute("aria-hidden", "true")
  el.append(icon)
  return el
}

// Paragraphs, and formulas where lines begin with four spaces; all of it as text.
function prose(text) {
  return text.split(/\n{2,}/).filter(Boolean).map(block => /^ {4}/.test(block)
    ? element("pre", "formula", block.replace(/^ {4}/gm, ""))
    : element("p", "", block.replace(/\s*\n\s*/g, " ")))
}

export function render({model, view}) {
  const root = element("div", "head")
  const title = element("div", "title"), question = element("div", "question"), line = element("div", "line")
  const ask = button("ask", "What this shows, and how it is computed", "?")
  const enlarge = button("enlarge", "Enlarge", "\u2922"), save = button("save", "Export", "\u2913")
  const pin = button("pin", PIN, "\u2691"), pinned = element("span", "pinned")
  const words = element("div", "words"), buttons = element("div", "buttons"), help = element("div", "help")
  const menu = element("div", "menu")
  question.setAttribute("role", "heading")
  question.setAttribute("aria-level", "2")
  pinned.setAttribute("role", "status")
  line.setAttribute("aria-live", "off")
  help.id = "help"
  help.hidden = true
  ask.setAttribute("aria-controls", "help")
  menu.id = "menu"
  menu.hidden = true
  menu.setAttribute("role", "menu")
  menu.setAttribute("aria-label", "Export as")
  save.setAttribute("aria-haspopup", "menu")
  save.setAttribute("aria-controls", "menu")
  words.append(title, question, line)
  buttons.append(pinned, ask, pin, save, enlarge, menu)
  root.append(words, buttons, help)

  function show(open) {
    help.hidden = !open
    ask.setAttribute("aria-expanded", String(open))
  }

  function leave(event) {
    if (event.key !== "Escape" || event.defaultPrevented) { return }
    model.enlarged = false
    enlarge.focus()
    // The same key would also clear the selection.
    event.preventDefault()
    event.stopPropagation()
  }

  function update() {
    root.classList.toggle("dark", model.dark)
    title.textContent = model.title
    question.textContent = model.question
    line.textContent = model.line
    // A line of plain words begins like a sentence; names of models and files are written as they are.
    line.classList.toggle("words", /^\p{Ll}+ /u.test(model.line))
    help.replaceChildren(...prose(model.help))
    ask.hidden = model.help === ""
    enlarge.hidden = !model.can_enlarge
    save.hidden = model.formats.length === 0
    pin.hidden = !model.can_pin
    enlarge.setAttribute("aria-pressed", String(model.enlarged))
    enlarge.title = model.enlarged ? "Back to its place (Escape)" : "Enlarge"
    enlarge.setAttribute("aria-label", enlarge.title)
    document.removeEventListener("keydown", leave)
    if (model.enlarged) { document.addEventListener("keydown", leave) }
  }

  // Whether the card around this head is on screen: what is not is drawn after what is. The card is there once this has a size.
  // Of a card whose heading alone looks in from below nothing would be seen to change: it would keep the others waiting. A card
  // lower than that is on screen when all of it is.
  const looks = {enough: false, whole: false}
  const watched = (what, options) => new IntersectionObserver(entries => {
    looks[what] = entries.at(-1).isIntersecting
    model.seen = looks.enough || looks.whole
  }, options)
  const watchers = [watched("enough", {rootMargin: `0px 0px -${HEADING}px 0px`}), watched("whole", {threshold: 0.99})]
  const sized = new ResizeObserver(() => {
    const card = root.getRootNode().host?.parentNode?.host
    if (card) {
      for (const watcher of watchers) { watcher.observe(card) }
      sized.disconnect()
    }
  })
  sized.observe(root)

  // -- the menu of exports --------------------------------------------------------------------------------------------------

  // The card around this head: pictures are made of the plots in it.
  function card() {
    let at = view
    while (at.parent && !at.model.css_classes?.includes("aa-card")) { at = at.parent }
    return at
  }

  // A card without a plot has no picture, and what is drawn by other scripts than BokehJS's has no SVG.
  function offered() {
    const plots = plotsIn(card()).length, canvases = canvasesIn(card().el).length
    const can = {png: plots + canvases > 0, svg: plots > 0 && canvases === 0}
    return model.formats.filter(([ending]) => can[ending] ?? true)
  }

  function openMenu() {
    menu.replaceChildren(...offered().map(([ending, name]) => {
      const item = element("button", "item", name)
      item.type = "button"
      item.dataset.ending = ending
      item.setAttribute("role", "menuitem")
      item.addEventListener("click", () => { closeMenu(); busy(true); model.send_msg({export: ending}) })
      return item
    }))
    menu.hidden = false
    save.setAttribute("aria-expanded", "true")
    document.addEventListener("pointerdown", elsewhere)
    menu.firstElementChild.focus()
  }

  function closeMenu() {
    menu.hidden = true
    save.setAttribute("aria-expanded", "false")
    document.removeEventListener("pointerdown", elsewhere)
  }

  function elsewhere(event) {
    if (!event.composedPath().includes(buttons)) { closeMenu() }
  }

  function busy(waits) {
    save.disabled = waits
    save.setAttribute("aria-busy", String(waits))
  }

  function move(event) {
    const items = [...menu.children], at = items.indexOf(event.target)
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1}[event.key]
    if (event.key === "Escape") { closeMenu(); save.focus() }
    else if (to !== undefined) { items.at(to % items.length).focus() }
    else { return }
    // The same keys move the focus on the heads, and clear the selection.
    event.preventDefault()
    event.stopPropagation()
  }

  function keep(name, blob) {
    const link = element("a")
    link.href = URL.createObjectURL(blob)
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
  }

  async function picture(ending, stamp) {
    const whole = card(), plots = plotsIn(whole), ground = groundOf(whole.el)
    keep(`${stamp.name}.${ending}`, ending === "svg" ? svg(plots, ground, stamp) : await png(plots, canvasesIn(whole.el), ground, stamp))
  }

  function told(kept) {
    pin.disabled = false
    pinned.textContent = kept ? "Pinned" : ""
    setTimeout(() => { pinned.textContent = "" }, 2_000)
  }

  pin.addEventListener("click", () => { pin.disabled = true; model.send_msg("pin") })
  save.addEventListener("click", () => menu.hidden ? openMenu() : closeMenu())
  menu.addEventListener("keydown", move)
  model.on("msg:custom", async ({files, picture: ending, stamp, pinned: kept}) => {
    if (kept !== undefined) { return told(kept) }
    busy(false)
    for (const {name, kind, data} of files ?? []) {
      keep(name, new Blob([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], {type: kind}))
    }
    if (ending && stamp) { await picture(ending, stamp) }
  })
  ask.addEventListener("click", () => show(help.hidden))
  help.addEventListener("keydown", event => { if (event.key === "Escape") { show(false) } })
  enlarge.addEventListener("click", () => {
    model.room = innerHeight
    model.room_width = innerWidth
    model.enlarged = !model.enlarged
  })
  model.on(["title", "question", "line", "help", "can_enlarge", "can_pin", "formats", "enlarged", "dark"], update)
  model.on("remove", () => {
    document.removeEventListener("keydown", leave)
    document.removeEventListener("pointerdown", elsewhere)
    for (const watcher of watchers) { watcher.disconnect() }
    sized.disconnect()
  })
  show(false)
  closeMenu()
  update()
  return root
}
