// Draws heat maps of units, and says what lies under the pointer or the cursor of the keyboard.
{
  function colour(element, name) {
    const text = getComputedStyle(element).getPropertyValue(name).trim();
    return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  }

  // 0 is paper; what lies above is blended towards one colour, what lies below towards the other.
  function drawMap(canvas) {
    const { width, height } = canvas;
    const [low, high] = [Number(canvas.dataset.low), Number(canvas.dataset.high)];
    const values = Uint8Array.from(atob(canvas.dataset.values), (character) => character.charCodeAt(0));
    const [paper, above, below] = ["--paper", "--for", "--against"].map((name) => colour(canvas, name));
    const image = new ImageData(width, height);
    values.forEach((byte, at) => {
      const value = low + (byte / 255) * (high - low);
      const [end, share] = value < 0 ? [below, value / low] : [above, value / high];
      for (let part = 0; part < 3; part++) image.data[4 * at + part] = paper[part] + share * (end[part] - paper[part]);
      image.data[4 * at + 3] = 255;
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
    canvas.values = values;
  }

  function say(canvas, column, unit) {
    const [low, high] = [Number(canvas.dataset.low), Number(canvas.dataset.high)];
    const value = low + (canvas.values[unit * canvas.width + column] / 255) * (high - low);
    const token = document.getElementById(canvas.dataset.passage)?.children[column]?.textContent ?? "";
    const words = `token ${column + 1} “${token}”, unit ${unit + 1}: ${value.toFixed(2).replace("-", "−")}`;
    canvas.closest("figure").querySelector("output").textContent = words;
    canvas.at = [column, unit];
  }

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const within = (value, size) => Math.max(0, Math.min(size - 1, value));
  const maps = [...document.querySelectorAll("canvas[data-values]")];
  for (const canvas of maps) {
    drawMap(canvas);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
      const unit = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
      say(canvas, within(column, canvas.width), within(unit, canvas.height));
    });
    canvas.addEventListener("focus", () => say(canvas, ...(canvas.at ?? [0, 0])));
    canvas.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const [column, unit] = canvas.at ?? [0, 0];
      say(canvas, within(column + step[0], canvas.width), within(unit + step[1], canvas.height));
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => maps.forEach(drawMap));
}
