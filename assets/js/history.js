// Keeps one part of the address in step with Python, and tells Python when the reader goes back or forward.
// Python: atlas/components/history.py.

// Changes closer together than this are one gesture (a held arrow key, a dragged slider) and one entry of the history.
const BURST = 100
// While a gesture lasts, the address is written this often at most: Chromium ignores more than 200 writes in 30 seconds, and
// Safari answers more than 100 in 10 seconds with an exception.
const PAUSE = 200

// The parts of the query: ours is found by its name, the others stay exactly as they are.
const parts = () => location.search.slice(1).split("&").filter(Boolean)
const ours = (part, key) => part === key || part.startsWith(`${key}=`)

function read(key) {
  const part = parts().find(part => ours(part, key))
  if (part === undefined) { return "" }
  const value = part.slice(key.length + 1)
  // A link somebody cut off or wrote by hand is handed on as it is; Python says what is wrong with it.
  try { return decodeURIComponent(value) } catch { return value }
}

function address(key, state) {
  const kept = parts().filter(part => !ours(part, key))
  const query = [...kept, ...(state ? [`${key}=${encodeURIComponent(state)}`] : [])].join("&")
  return location.pathname + (query ? `?${query}` : "") + location.hash
}

export function render({model, data}) {
  const root = document.createElement("div")
  const {key} = model
  let known = read(key)    // what the address says
  let fresh = true         // nothing written yet: the first state belongs to the entry that is there
  let answering = null     // a step back or forward that Python has not answered yet
  let steps = 0
  let last = -Infinity     // when the state changed
  let timer = null         // until the next write of a gesture that goes on
  let pending = null       // what it will write

  function write(how, state) {
    rest()
    if (state === known) { return }
    known = state
    fresh = false
    history[how](history.state, "", address(key, state))
  }

  function rest() {
    clearTimeout(timer)
    timer = pending = null
  }

  function follow() {
    const {state} = model, now = performance.now(), burst = now - last < BURST
    // What Python wrote before it heard of the step is not about the entry that the reader went to; the answer says what is.
    if (answering !== null || (state === known && timer === null)) { return }
    last = now
    if (fresh || model.replace) { return write("replaceState", state) }
    if (burst) {
      pending = state
      timer ??= setTimeout(() => write("replaceState", pending), PAUSE)
      return
    }
    if (timer !== null) { write("replaceState", pending) }
    write("pushState", state)
  }

  function popped() {
    if (!root.isConnected) { return removeEventListener("popstate", popped) }
    const state = read(key)
    // A jump inside the page is also such an event.
    if (state === known) { return }
    rest()
    known = state
    steps += 1
    answering = steps
    model.state = state
    model.send_msg({pop: state, step: steps})
  }

  function answer({answered, state}) {
    if (answered !== answering) { return }
    answering = null
    // Python holds this already; to be told so could undo what it has made since.
    data.setv({state}, {sync: false})
    write("replaceState", state)
  }

  addEventListener("popstate", popped)
  model.on("state", follow)
  model.on("msg:custom", answer)
  model.on("remove", () => {
    rest()
    removeEventListener("popstate", popped)
  })
  model.send_msg({start: known})
  if (model.state) { follow() }
  return root
}
