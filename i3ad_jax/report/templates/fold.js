// On a phone long parts are folded. A link to a place inside one opens it.
{
  if (matchMedia('(max-width: 40rem)').matches) {
    for (const part of document.querySelectorAll('details.long')) part.open = false;
  }
  const reveal = (hash) => {
    for (let part = document.getElementById(hash.slice(1)); part; part = part.parentElement) {
      if (part.tagName === 'DETAILS') part.open = true;
    }
  };
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (link) reveal(link.hash);
  }, true);
  reveal(location.hash);
}
