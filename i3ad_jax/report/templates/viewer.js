// The dialog shows the image of a row of the table large, with its scores, and goes on to the rows before and after.
{
  const dialog = document.getElementById('viewer');
  const table = document.querySelector('#images table');
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const [previous, next] = dialog.querySelectorAll('button[data-by]');
  let current = null;

  const neighbour = (by) => {
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden && row.querySelector('img'));
    return rows[rows.indexOf(current) + by] ?? null;
  };

  // The large view of a case or of a mistake; of all other images there are small pictures alone.
  const picturesOf = (row) => {
    const large = [...document.querySelectorAll(`[data-view="${row.dataset.index}"] figure:has(.large)`)];
    dialog.classList.toggle('small', !large.length);
    const pictures = (large.length ? large : [...row.querySelectorAll('img')]).map((own) => own.cloneNode(true));
    for (const own of pictures) own.querySelector('[id]')?.removeAttribute('id');
    return pictures;
  };

  const show = (row) => {
    current = row;
    dialog.querySelector('h2').textContent = row.dataset.path;
    dialog.querySelector('.pictures').replaceChildren(...picturesOf(row));
    const facts = names.slice(2).map((name, index) => {
      const fact = document.createElement('div');
      const [term, value] = ['dt', 'dd'].map((tag) => fact.appendChild(document.createElement(tag)));
      term.textContent = name;
      value.textContent = row.cells[index + 2].textContent.trim();
      return fact;
    });
    dialog.querySelector('dl').replaceChildren(...facts);
    previous.disabled = !neighbour(-1);
    next.disabled = !neighbour(1);
  };

  const move = (by) => { const row = neighbour(by); if (row) show(row); };
  previous.addEventListener('click', () => move(-1));
  next.addEventListener('click', () => move(1));
  dialog.addEventListener('keydown', (event) => {
    if (event.target.matches('input')) return; // arrows move a slider
    if (event.key === 'ArrowLeft') move(-1);
    if (event.key === 'ArrowRight') move(1);
  });

  for (const own of document.querySelectorAll('.enlarge, .case .large')) {
    own.addEventListener('click', () => {
      show(document.getElementById(`image-${own.closest('[data-view]').dataset.view}`));
      dialog.showModal();
    });
  }

  table.tBodies[0].addEventListener('click', (event) => {
    const row = event.target.closest('tr');
    if (event.target.closest('.open')) {
      show(row);
      dialog.showModal();
    } else if (!event.target.closest('a') && !String(getSelection())) {
      row.querySelector('a, .open')?.click();
    }
  });
}
