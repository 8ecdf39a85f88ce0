// The dialog shows the picture of a row of the table large, with its scores, and goes on to the rows before and after.
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

  const show = (row) => {
    current = row;
    dialog.querySelector('h2').textContent = row.dataset.path;
    const pictures = [...row.querySelectorAll('img')].map((img) => img.cloneNode());
    dialog.querySelector('.pictures').replaceChildren(...pictures);
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
    if (event.key === 'ArrowLeft') move(-1);
    if (event.key === 'ArrowRight') move(1);
  });

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
