// Places of cards that are not made yet; tells which of them are on screen. Python: atlas/components/places.py.
const HEADING = 140  // pixels of a place that have to look in from below, as of a card: card_head.js

function frame({key, title, question, wide, order}) {
  const place = document.createElement("div"), name = document.createElement("div"), heading = document.createElement("div")
  place.className = `place aa-card-${key}${wide ? " wide" : ""}`
  place.dataset.key = key
  place.style.order = String(order)
  // So that the Tab key gets here from the card before: the focus scrolls the place into the window, and its card is made.
  place.tabIndex = 0
  name.className = "title"
  name.textContent = title
  heading.className = "question"
  heading.setAttribute("role", "heading")
  heading.setAttribute("aria-level", "2")
  heading.textContent = question
  place.append(name, heading)
  return place
}

export function render({model}) {
  const root = document.createElement("div")
  root.className = "places"
  const frames = new Map(), visible = new Set()

  const tell = () => {
    const seen = model.places.map(({key}) => key).filter(key => visible.has(key))
    if (seen.join() !== model.seen.join()) { model.seen = seen }
  }
  const watcher = new IntersectionObserver(entries => {
    for (const {target, isIntersecting} of entries) {
      if (isIntersecting) { visible.add(target.dataset.key) } else { visible.delete(target.dataset.key) }
    }
    tell()
  }, {rootMargin: `0px 0px -${HEADING}px 0px`})

  function update() {
    const keys = new Set(model.places.map(({key}) => key))
    for (const [key, place] of frames) {
      if (!keys.has(key)) {
        watcher.unobserve(place)
        place.remove()
        frames.delete(key)
        visible.delete(key)
      }
    }
    for (const place of model.places) {
      if (!frames.has(place.key)) {
        const made = frame(place)
        frames.set(place.key, made)
        watcher.observe(made)
      }
    }
    // In the order of the page, for those who go through it by key.
    // What stays is not touched: a place that is taken out and put back loses the focus.
    model.places.forEach(({key}, at) => {
      const there = root.children[at] ?? null
      if (there !== frames.get(key)) { root.insertBefore(frames.get(key), there) }
    })
    tell()
  }

  model.on("places", update)
  model.on("remove", () => watcher.disconnect())
  update()
  return root
}
