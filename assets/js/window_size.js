// Tells Python the size of the window once, and again when it has changed and rests. Python: atlas/components/window_size.py.
const REST = 250  // milliseconds without a change: while an edge is dragged nothing is drawn anew

export function render({model}) {
  let told = "", timer = null
  const tell = () => {
    const size = `${innerWidth} ${innerHeight}`
    if (size === told) { return }
    told = size
    model.send_msg({width: innerWidth, height: innerHeight})
  }
  const resized = () => {
    clearTimeout(timer)
    timer = setTimeout(tell, REST)
  }
  addEventListener("resize", resized)
  model.on("remove", () => {
    clearTimeout(timer)
    removeEventListener("resize", resized)
  })
  tell()
  return document.createElement("div")
}
