// Pictures of the plots of a card, from BokehJS's own export: one PNG or one SVG of all of them, placed as on screen.
// Used by card_head.js, and by atlas/views/headless.py in a browser without a window.
const SVG_NAME = "http://www.w3.org/2000/svg"
const MARGIN = 8

// All plots under a view of BokehJS that are on screen.
export function plotsIn(view) {
  const found = [], left = [view]
  while (left.length > 0) {
    const next = left.shift()
    const {width = 0, height = 0} = next.el?.getBoundingClientRect?.() ?? {}
    if (next.model?.type === "Figure" && width > 0 && height > 0) { found.push(next) }
    else { left.push(...(next.child_views ?? [])) }
  }
  return found
}

// What is drawn on a canvas by other scripts than BokehJS.
export function canvasesIn(root) {
  const found = [], left = [root]
  while (left.length > 0) {
    const next = left.shift()
    if (next.localName === "canvas" && next.width > 0 && next.height > 0 && next.clientWidth > 0) { found.push(next) }
    else if (!next.classList?.contains("bk-Figure")) { left.push(...(next.shadowRoot?.children ?? []), ...next.children) }
  }
  return found
}

// Where elements lie in the smallest rectangle around all of them.
function placed(elements) {
  const boxes = elements.map(element => element.getBoundingClientRect())
  const left = Math.min(...boxes.map(box => box.left)), top = Math.min(...boxes.map(box => box.top))
  return {
    width: Math.ceil(Math.max(...boxes.map(box => box.right)) - left) + 2 * MARGIN,
    height: Math.ceil(Math.max(...boxes.map(box => box.bottom)) - top) + 2 * MARGIN,
    at: boxes.map(box => ({x: box.left - left + MARGIN, y: box.top - top + MARGIN, width: box.width, height: box.height})),
  }
}

// The first ground that is not transparent, outwards.
export function groundOf(element) {
  for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
    const colour = getComputedStyle(at).backgroundColor
    if (colour && colour !== "transparent" && !/, 0\)$/.test(colour)) { return colour }
  }
  return "#ffffff"
}

export async function png(plots, canvases, ground, stamp) {
  const {width, height, at} = placed([...plots.map(plot => plot.el), ...canvases])
  const layers = [...plots.map(plot => plot.export("png").canvas), ...canvases]
  const ratio = Math.max(1, ...layers.map((layer, i) => layer.width / at[i].width))
  const whole = document.createElement("canvas")
  whole.width = Math.round(width * ratio)
  whole.height = Math.round(height * ratio)
  const ctx = whole.getContext("2d")
  ctx.fillStyle = ground
  ctx.fillRect(0, 0, whole.width, whole.height)
  layers.forEach((layer, i) => ctx.drawImage(layer, at[i].x * ratio, at[i].y * ratio, at[i].width * ratio, at[i].height * ratio))
  const blob = await new Promise(resolve => whole.toBlob(resolve, "image/png"))
  return new Blob(stamped(new Uint8Array(await blob.arrayBuffer()), stamp), {type: "image/png"})
}

export function svg(plots, ground, stamp) {
  const {width, height, at} = placed(plots.map(plot => plot.el))
  const root = document.createElementNS(SVG_NAME, "svg")
  const part = (name, attributes, text = "") => {
    const made = document.createElementNS(SVG_NAME, name)
    for (const [key, value] of Object.entries(attributes)) { made.setAttribute(key, value) }
    made.textContent = text
    root.append(made)
    return made
  }
  for (const [key, value] of Object.entries({width, height, viewBox: `0 0 ${width} ${height}`})) { root.setAttribute(key, value) }
  part("title", {}, stamp.title)
  part("metadata", {}, stamp.json)
  part("rect", {width, height, fill: ground})
  plots.forEach((plot, i) => {
    const drawn = plot.export("svg").canvas
    drawn.setAttribute("x", at[i].x)
    drawn.setAttribute("y", at[i].y)
    root.append(drawn)
  })
  const text = new XMLSerializer().serializeToString(root)
  return new Blob([`<?xml version="1.0" encoding="UTF-8"?>\n${text}\n`], {type: "image/svg+xml"})
}

// -- text in a PNG: iTXt and not tEXt, which has no letters beyond Latin-1 ------------------------------------------------------

const HEADER = 8 + 25  // the signature and the first chunk, after which texts may stand

function stamped(bytes, stamp) {
  const texts = [["Title", stamp.title], ["Software", stamp.software], ["Creation Time", stamp.date], ["attention-atlas", stamp.json]]
  return [bytes.slice(0, HEADER), ...texts.map(([key, text]) => chunk(key, text)), bytes.slice(HEADER)]
}

function chunk(key, text) {
  const encoded = new TextEncoder().encode(`iTXt${key}\0\0\0\0\0${text}`)
  const found = new Uint8Array(encoded.length + 8), view = new DataView(found.buffer)
  view.setUint32(0, encoded.length - 4)
  found.set(encoded, 4)
  view.setUint32(encoded.length + 4, crc(encoded))
  return found
}

function crc(bytes) {
  let found = 0xffffffff
  for (const byte of bytes) {
    found ^= byte
    for (let bit = 0; bit < 8; bit++) { found = found & 1 ? (found >>> 1) ^ 0xedb88320 : found >>> 1 }
  }
  return (found ^ 0xffffffff) >>> 0
}
