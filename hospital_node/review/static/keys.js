// Keys of the viewer. They work while a canvas has the focus, and nowhere else, so that no letter
// typed into a field does anything (WCAG 2.1.4).

const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const PAN = 40;
const FAR = 10;

function arrow(pane, event) {
  const [x, y] = ARROWS[event.key];
  if (pane.cross) {
    const step = event.shiftKey ? FAR : 1;
    pane.moveCross(x * step, y * step);
  } else if (event.shiftKey || pane.series.pictures === 1) {
    pane.move(-x * PAN, -y * PAN);
  } else {
    pane.turnTo(pane.number + (x || y));
  }
}

function window_(pane, centres, widths) {
  if (!pane.look) return;
  const { centre, width } = pane.look;
  pane.setLook({ centre: centre + (centres * width) / 20, width: width * 1.1 ** widths });
}

const ACTS = {
  Home: (pane) => pane.turnTo(0),
  End: (pane) => pane.turnTo(pane.series.pictures - 1),
  PageUp: (pane) => pane.turnTo(pane.number - FAR),
  PageDown: (pane) => pane.turnTo(pane.number + FAR),
  w: (pane) => window_(pane, 1, 0),
  s: (pane) => window_(pane, -1, 0),
  d: (pane) => window_(pane, 0, 1),
  a: (pane) => window_(pane, 0, -1),
  "+": (pane) => pane.zoom(1.25),
  "=": (pane) => pane.zoom(1.25),
  "-": (pane) => pane.zoom(0.8),
  0: (pane) => pane.fit(),
  i: (pane) => pane.look && pane.setLook({ isInverted: !pane.look.isInverted }),
  x: (pane) => pane.toggleCross(),
  Enter: (pane) => pane.setEnd(),
};

/** Have a pane obey keys; `page` has those that are not the pane's own. */
export function obeyKeys(pane, page) {
  pane.canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = page[key] || (pane.picture && ACTS[key]);
    if (key in ARROWS && pane.picture) arrow(pane, event);
    else if (act) act(pane);
    else if (/^[1-9]$/.test(key) && pane.picture) page.preset(pane, Number(key) - 1);
    else return;
    event.preventDefault();
  });
}
