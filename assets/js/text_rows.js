// Texts in rows, with steps and pages. Python: atlas/components/text_rows.py.
const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

function button(name, words, work) {
  const el = element("button", name, words)
  el.type = "button"
  el.addEventListener("click", work)
  return el
}

export function render({model}) {
  const root = element("div", "text-rows"), list = element("ul"), steps = element("div", "steps"), pages = element("div", "steps")
  const where = element("span", "where"), page = element("span", "where")
  const send = message => () => model.send_msg(message)
  where.setAttribute("role", "status")
  page.setAttribute("role", "status")
  steps.append(button("step", "‹ Previous", send({step: -1})), where, button("step", "Next ›", send({step: 1})))
  pages.append(button("turn", "«", send({turn: -1})), page, button("turn", "»", send({turn: 1})))
  pages.firstChild.setAttribute("aria-label", "Previous page")
  pages.lastChild.setAttribute("aria-label", "Next page")
  root.append(steps, list, pages)

  const rows = () => [...list.querySelectorAll("button")]
  const focused = () => rows().find(row => row === root.getRootNode().activeElement)

  // One stop for the Tab key: arrows move inside the list.
  function reach(row) {
    for (const other of rows()) { other.tabIndex = other === row ? 0 : -1 }
  }

  // Parts are in turns outside of marks and inside.
  function write(el, text, parts) {
    if (!parts) { el.textContent = text; return }
    el.replaceChildren(...parts.map((part, at) => at % 2 ? element("mark", "", part) : part))
  }

  function fill(row, {key, number, text, note, now, parts}) {
    row.dataset.key = key
    row.title = text
    row.setAttribute("aria-label", [number, text, note].filter(Boolean).join(", "))
    row.querySelector(".number").textContent = number
    write(row.querySelector(".text"), text, parts)
    row.querySelector(".note").textContent = note
    if (now) { row.setAttribute("aria-current", "true") } else { row.removeAttribute("aria-current") }
  }

  let tallest = 0 // the last page has fewer rows; a shorter list would let the page scroll back under the pointer on "Next"

  function update() {
    tallest = Math.max(tallest, list.offsetHeight)
    const held = focused()?.dataset.key
    // Patched in place: a button that was rebuilt would lose the focus that pressed it.
    while (list.children.length > model.rows.length) { list.lastChild.remove() }
    while (list.children.length < model.rows.length) {
      const item = element("li"), row = button("row", undefined, () => { reach(row); model.send_msg({key: row.dataset.key}) })
      row.append(element("span", "number"), element("span", "text"), element("span", "note"))
      item.append(row)
      list.append(item)
    }
    const all = rows()
    model.rows.forEach((each, at) => fill(all[at], each))
    const same = all.find(row => row.dataset.key === held), now = all.find(row => row.hasAttribute("aria-current"))
    if (same) { same.focus() }
    reach(same ?? now ?? all[0])
    place()
  }

  function place() {
    steps.hidden = model.where === ""
    pages.hidden = model.pages < 2
    list.style.minHeight = model.pages < 2 ? "" : `${tallest}px`
    where.textContent = model.where
    page.textContent = `page ${model.page} of ${model.pages}`
  }

  list.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) { return }
    const all = rows(), at = all.indexOf(focused())
    const to = {ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: all.length - 1}[event.key]
    if (at < 0 || to === undefined) { return }
    if (all[to]) {
      reach(all[to])
      all[to].focus()
    }
    event.preventDefault()
    event.stopPropagation()
  })

  list.setAttribute("aria-label", model.label)
  model.on("rows", update)
  model.on(["where", "page", "pages"], place)
  update()
  return root
}
