// The sliders of contrast move together: they set the value of the hottest colour in all large maps.
{
  const panels = [...document.querySelectorAll('.contrast')];
  const filters = [...document.querySelectorAll('filter[data-peak]')];

  const stretch = (position) => {
    const { limit, threshold } = panels[0].dataset;
    const hottest = limit * 2 ** (-position / 5);
    const text = String(Number(hottest.toPrecision(4)));
    for (const panel of panels) {
      const slider = panel.querySelector('input');
      slider.value = position;
      slider.setAttribute('aria-valuetext', `hottest colour at ${text}`);
      panel.querySelector('output').textContent = text;
      const mark = panel.querySelector('.scale b');
      if (mark) mark.style.left = `${Math.min(100, Math.max(0, 100 * threshold / hottest))}%`;
    }
    for (const filter of filters) {
      const slope = filter.dataset.peak / hottest;
      for (const part of filter.querySelectorAll('[slope]')) part.setAttribute('slope', slope);
    }
  };

  for (const panel of panels) {
    const slider = panel.querySelector('input');
    slider.addEventListener('input', () => stretch(Number(slider.value)));
    panel.querySelector('button').addEventListener('click', () => stretch(0));
  }
  stretch(0);
}
