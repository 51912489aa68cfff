// The top of a card: its question, the line that says what is shown now, help and enlarge. Python: atlas/components/card.py.
const HEADING = 140  // pixels of a card's question and controls

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

export function render({model}) {
  const root = element("div", "head")
  const title = element("div", "title"), question = element("div", "question"), line = element("div", "line")
  const ask = button("ask", "What this shows, and how it is computed", "?")
  const enlarge = button("enlarge", "Enlarge", "\u2922"), save = button("save", "Save the numbers as CSV", "\u2913")
  const words = element("div", "words"), buttons = element("div", "buttons"), help = element("div", "help")
  question.setAttribute("role", "heading")
  question.setAttribute("aria-level", "2")
  line.setAttribute("aria-live", "off")
  help.id = "help"
  help.hidden = true
  ask.setAttribute("aria-controls", "help")
  words.append(title, question, line)
  buttons.append(ask, save, enlarge)
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
    help.replaceChildren(...prose(model.help))
    ask.hidden = model.help === ""
    enlarge.hidden = !model.can_enlarge
    save.hidden = !model.can_export
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

  save.addEventListener("click", () => model.send_msg("export"))
  model.on("msg:custom", ({name, text}) => {
    const link = element("a")
    link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}))
    link.download = name
    link.click()
    URL.revokeObjectURL(link.href)
  })
  ask.addEventListener("click", () => show(help.hidden))
  help.addEventListener("keydown", event => { if (event.key === "Escape") { show(false) } })
  enlarge.addEventListener("click", () => {
    model.room = innerHeight
    model.room_width = innerWidth
    model.enlarged = !model.enlarged
  })
  model.on(["title", "question", "line", "help", "can_enlarge", "can_export", "enlarged", "dark"], update)
  model.on("remove", () => {
    document.removeEventListener("keydown", leave)
    for (const watcher of watchers) { watcher.disconnect() }
    sized.disconnect()
  })
  show(false)
  update()
  return root
}
