// Sliders over the states of each case, and one that plays all of them at once.
{
  const titles = JSON.parse(document.getElementById('cases').dataset.states);
  const share = (index, count) => count > 1 ? index / (count - 1) : 0;

  const showCase = (card, wanted) => {
    const slider = card.querySelector('input');
    const step = Math.min(wanted, Number(slider.max));
    const columns = Number(card.style.getPropertyValue('--columns'));
    const rows = Number(card.style.getPropertyValue('--rows'));
    card.style.setProperty('--x', share(step % columns, columns));
    card.style.setProperty('--y', share(Math.floor(step / columns), rows));
    const area = `${card.dataset.areas.split(' ')[step]} %`;
    card.querySelector('.area').textContent = area;
    card.querySelector('output').textContent = titles[step];
    slider.value = step;
    slider.setAttribute('aria-valuetext', `${titles[step]}, mask ${area} of the image`);
  };

  const cards = [...document.querySelectorAll('.case[data-areas]')];
  for (const card of cards) {
    const slider = card.querySelector('input');
    slider.addEventListener('input', () => showCase(card, Number(slider.value)));
    showCase(card, Number(slider.value));
  }

  const all = document.getElementById('step');
  const button = document.getElementById('play');
  const text = document.querySelector('.all output');
  let timer = null;
  const showAll = (step) => {
    all.value = step;
    text.textContent = titles[step];
    all.setAttribute('aria-valuetext', titles[step]);
    cards.forEach((card) => showCase(card, step));
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = 'Play';
  };
  const advance = () => all.value === all.max ? stop() : showAll(Number(all.value) + 1);
  all.addEventListener('input', () => { stop(); showAll(Number(all.value)); });
  button.addEventListener('click', () => {
    if (timer) return stop();
    if (all.value === all.max) showAll(0);
    button.textContent = 'Pause';
    timer = setInterval(advance, 300);
  });
  showAll(Number(all.value));
}
