// The findings of a reader: a button, and a dialog with all of them. Only this browser keeps them.
// Python: atlas/components/findings_book.py.
const STORE = "attention-atlas.findings"
const UNREAD = `${STORE}.unread`  // what could not be read is put here, and not lost, when something new is kept
const PIECE = 100_000   // letters of a text in a message: the server refuses messages with a longer one than 200,000
const REST = 400  // milliseconds without a key after which what was typed is kept

const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

// By whole letters: half of one in each of two pieces would be lost.
const pieces = text => text.match(new RegExp(`[^]{1,${PIECE}}`, "gu")) ?? []

function button(name, words, work) {
  const el = element("button", name, words)
  el.type = "button"
  el.addEventListener("click", work)
  return el
}

export function render({model}) {
  const root = element("div", "findings"), dialog = element("dialog"), list = element("ol"), said = element("p", "said")
  const none = element("p", "none", "Nothing is pinned yet. The pin of a card keeps what it shows, with the whole state.")
  const open = button("open", "Findings", () => { dialog.showModal(); list.querySelector("input")?.focus() })
  const file = element("input"), tools = element("div", "tools"), help = element("details"), counted = element("span", "counted")
  const report = element("div", "report"), told = element("p", "told"), parts = []  // of a file that comes in pieces
  const nodes = new Map()  // key of a finding -> its parts
  let known = null         // what this browser's storage holds; null: nothing

  open.setAttribute("aria-haspopup", "dialog")
  counted.setAttribute("role", "status")
  said.setAttribute("role", "status")
  dialog.setAttribute("aria-label", "Findings")
  file.type = "file"
  file.accept = ".json,application/json"
  file.hidden = true
  help.append(element("summary", "", "What this is, and how contradictions are found"), element("p", "", model.help))
  tools.append(
    ...model.endings.map(([ending, words]) => button("save", words, () => model.send_msg({ask: "export", ending}))),
    button("load", "Load a file", () => file.click()), file,
    button("close", "Close", () => dialog.close()),
  )
  const asked = model.asks.map(([name, words, most]) => {
    const input = element(name === "title" ? "input" : "textarea")
    input.maxLength = most
    input.name = name
    input.placeholder = words
    input.setAttribute("aria-label", words)
    return input
  })
  const make = button("make", "Report", () => {
    model.send_msg({ask: "report", ...Object.fromEntries(asked.map(input => [input.name, input.value]))})
  })
  const stop = button("stop", "Cancel", () => model.send_msg({ask: "cancel"}))
  told.setAttribute("role", "status")
  make.title = "One HTML file of all findings, with their pictures and numbers made again"
  report.append(...asked, make, stop, told)
  dialog.append(element("h2", "", "Findings"), tools, said, help, report, none, list)
  root.append(open, counted, dialog)

  // -- the browser's own storage, which it may refuse ---------------------------------------------------------------------

  const stored = () => { try { return localStorage.getItem(STORE) } catch { return null } }

  function store() {
    if (model.kept === "" || model.kept === known) { return }
    try {
      localStorage.setItem(STORE, model.kept)
      known = model.kept
    } catch {
      said.textContent = "This browser keeps nothing for this page: save the findings to a file before you leave."
    }
  }

  // -- the list --------------------------------------------------------------------------------------------------------------

  function field(finding, [name, title, most]) {
    const label = element("label", name), input = element(name === "title" ? "input" : "textarea")
    input.maxLength = most
    let timer, sent = finding[name]
    // Also while the reader types: who then reloads the page would lose it.
    const send = () => {
      clearTimeout(timer)
      if (input.value === sent) { return }
      sent = input.value
      model.send_msg({ask: "edit", key: finding.key, name, value: sent})
    }
    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(send, REST) })
    input.addEventListener("change", send)
    label.append(element("span", "", title), input)
    return [label, input]
  }

  function claim(finding) {
    const label = element("label", "claim"), input = element("select")
    for (const [value, words] of model.claims) {
      const option = element("option", "", words)
      option.value = value
      input.append(option)
    }
    input.addEventListener("change", () => model.send_msg({ask: "edit", key: finding.key, name: "claim", value: input.value}))
    label.append(element("span", "", "Claim"), input)
    return [label, input]
  }

  function build(finding) {
    const {key} = finding, item = element("li"), about = element("p", "about"), flags = element("ul", "flags")
    const inputs = {}
    const fields = model.fields.map(each => {
      const [label, input] = field(finding, each)
      inputs[each[0]] = input
      return label
    })
    const [label, input] = claim(finding)
    inputs.claim = input
    fields.splice(2, 0, label)
    const buttons = element("div", "tools")
    const ask = what => () => model.send_msg({key, ...what})
    buttons.append(
      button("restore", "Restore", () => { dialog.close(); ask({ask: "restore"})() }),
      button("up", "Up", ask({ask: "move", by: -1})), button("down", "Down", ask({ask: "move", by: 1})),
      button("remove", "Delete", ask({ask: "remove"})),
    )
    flags.setAttribute("aria-label", "Contradictions")
    item.append(about, flags, ...fields, buttons)
    return {item, about, flags, inputs}
  }

  function fill(finding, {about, flags, inputs}) {
    const told = [finding.about, finding.line, `${finding.model} ${finding.revision.slice(0, 12)}`.trim(), finding.text, finding.date]
    about.textContent = told.filter(Boolean).join(" · ")
    for (const [name, input] of Object.entries(inputs)) {
      // Who types goes on with what is in the field.
      if (input !== root.getRootNode().activeElement) { input.value = finding[name] }
    }
    flags.replaceChildren(...(model.flags[finding.key] ?? []).map(words => element("li", "", words)))
  }

  function update() {
    dialog.classList.toggle("dark", model.dark)
    const {findings} = model.kept === "" ? {findings: []} : JSON.parse(model.kept)
    for (const key of [...nodes.keys()].filter(key => !findings.some(finding => finding.key === key))) {
      nodes.get(key).item.remove()
      nodes.delete(key)
    }
    findings.forEach((finding, at) => {
      if (!nodes.has(finding.key)) { nodes.set(finding.key, build(finding)) }
      const parts = nodes.get(finding.key)
      fill(finding, parts)
      if (list.children[at] !== parts.item) { list.insertBefore(parts.item, list.children[at] ?? null) }
    })
    counted.textContent = findings.length ? String(findings.length) : ""
    counted.setAttribute("aria-label", findings.length ? `${findings.length} pinned` : "")
    none.hidden = findings.length > 0
    progress()
    store()
  }

  function progress() {
    // Its own button is not disabled: who pressed it with a key would lose the place in the page.
    make.setAttribute("aria-disabled", String(model.making))
    stop.hidden = !model.making
    told.textContent = model.told
    report.hidden = !none.hidden && !model.making
  }

  // -- what the reader and other pages of this browser do -----------------------------------------------------------------------

  // Another page of this browser has pinned or edited: this one would write over that.
  function elsewhere(event) {
    if (!root.isConnected) { return removeEventListener("storage", elsewhere) }
    if (event.key === STORE && event.newValue !== null && event.newValue !== known) {
      known = event.newValue
      model.send_msg({ask: "begin", pieces: pieces(known)})
    }
  }

  function answer({file: made, part, first, unread}) {
    if (first) { parts.length = 0 }  // of a file that broke off
    if (part !== undefined) { parts.push(part) }
    if (unread) {
      try { localStorage.setItem(UNREAD, known) } catch { /* said by what Python says of it */ }
    }
    if (!made) { return }
    const link = element("a")
    link.href = URL.createObjectURL(new Blob(made.text === undefined ? parts.splice(0) : [made.text], {type: made.kind}))
    link.download = made.name
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
  }

  file.addEventListener("change", async () => {
    const [chosen] = file.files
    if (!chosen) { return }
    if (chosen.size > model.most) { said.textContent = "This file is too large to be one of findings." }
    else { model.send_msg({ask: "load", pieces: pieces(await chosen.text())}) }
    file.value = ""
  })
  // Keys of the page move the head in focus and clear the selection; Escape closes a dialog by itself.
  dialog.addEventListener("keydown", event => event.stopPropagation())
  addEventListener("storage", elsewhere)
  model.on(["kept", "flags", "dark"], update)
  model.on(["making", "told"], progress)
  model.on("said", () => { said.textContent = model.said })
  model.on("msg:custom", answer)
  model.on("remove", () => removeEventListener("storage", elsewhere))
  known = stored()
  if (known !== null) { model.send_msg({ask: "begin", pieces: pieces(known)}) }
  update()
  return root
}
