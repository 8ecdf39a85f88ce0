// Each slider moves the threshold of one score: the line, the counts and, for the headline, the outcomes in the table
// of images follow.
const { labels, scores } = JSON.parse(document.getElementById('values').textContent);
const outcomeOf = (anomalous, flagged) =>
  anomalous ? (flagged ? 'found' : 'missed') : (flagged ? 'false alarm' : 'passed');

for (const panel of document.querySelectorAll('.threshold')) {
  const slider = panel.querySelector('input');
  const values = scores[panel.dataset.score];
  const start = Number(panel.dataset.threshold);
  const [scale, step] = [Number(panel.dataset.scale), Number(panel.dataset.step)];
  const [first, last] = [Number(slider.min), Number(slider.max)];

  const update = () => {
    const position = Number(slider.value);
    const threshold = start + scale * Math.sinh(position * step);
    const counts = { found: 0, missed: 0, 'false alarm': 0, passed: 0 };
    const outcomes = values.map((value, index) => outcomeOf(labels[index] === 1, value > threshold));
    for (const outcome of outcomes) counts[outcome] += 1;
    for (const cell of panel.querySelectorAll('[data-count]')) cell.textContent = counts[cell.dataset.count];

    const text = position ? String(Number(threshold.toPrecision(4))) : panel.dataset.text;
    panel.querySelector('.value').textContent = text;
    slider.setAttribute('aria-valuetext',
      `${text}: ${counts['false alarm']} false alarms, ${counts.missed} missed`);
    panel.querySelector('.line').style.left = `${100 * (position - first) / (last - first)}%`;
    if (panel.hasAttribute('data-headline')) showOutcomes(outcomes);
  };

  slider.addEventListener('input', update);
  panel.querySelector('button').addEventListener('click', () => { slider.value = 0; update(); });
  update();
}

function showOutcomes(outcomes) {
  for (const row of document.querySelectorAll('#images tbody tr')) {
    const outcome = outcomes[row.dataset.index];
    if (row.dataset.outcome === outcome) continue;
    row.dataset.outcome = outcome;
    const chip = row.querySelector('.chip');
    chip.textContent = outcome;
    chip.className = `chip ${outcome.replace(' ', '-')}`;
  }
  document.dispatchEvent(new Event('threshold'));
}
