// Search, filters and sorting of each table of images. Every row keeps its place in the order that was asked for
// last; equal ones keep the order they had before.
for (const box of document.querySelectorAll('.images')) {
  const body = box.querySelector('tbody');
  const rows = [...body.rows];
  const search = box.querySelector('input[type="search"]');
  const selects = [...box.querySelectorAll('select')];
  const headers = [...box.querySelectorAll('thead th')];

  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.dataset.path.toLowerCase().includes(wanted)
        || selects.some((select) => select.value && row.dataset[select.dataset.column] !== select.value);
      shown += !row.hidden;
    }
    box.querySelector('output').textContent = `${shown} of ${rows.length} images`;
  };

  const sort = (column) => {
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const numeric = rows.some((row) => row.cells[column].dataset.value);
    const before = headers[column].getAttribute('aria-sort');
    // Numbers begin with the highest, words with the first of the alphabet.
    const descending = before === 'none' ? numeric : before === 'ascending';
    const compare = (a, b) => numeric ? key(a) - key(b) : key(a).localeCompare(key(b));
    rows.sort((a, b) => descending ? compare(b, a) : compare(a, b));
    body.append(...rows);
    for (const header of headers) if (header.hasAttribute('aria-sort')) header.setAttribute('aria-sort', 'none');
    headers[column].setAttribute('aria-sort', descending ? 'descending' : 'ascending');
  };

  headers.forEach((header, column) => {
    header.querySelector('button')?.addEventListener('click', () => sort(column));
  });
  for (const control of [search, ...selects]) control.addEventListener('input', show);
  document.addEventListener('threshold', show); // outcomes of the rows have changed
  show(); // a browser may have kept what was typed before the page was loaded again
}
