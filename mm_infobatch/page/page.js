'use strict';

// Charts: the figures are JSON in the page; text follows the color of the page.
function themed(layout) {
  const color = getComputedStyle(document.body).color;
  return Object.assign({}, layout, {font: Object.assign({}, layout.font, {color})});
}
for (const chart of document.querySelectorAll('[data-figure]')) {
  const figure = JSON.parse(document.getElementById(chart.dataset.figure).textContent);
  const options = {responsive: true, displaylogo: false,
    modeBarButtons: [['zoom2d', 'pan2d', 'resetScale2d', 'toImage']]};
  Plotly.newPlot(chart, figure.data, themed(figure.layout), options).then(() => {
    chart.dataset.drawn = 'true';
  });
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  const color = getComputedStyle(document.body).color;
  document.querySelectorAll('[data-figure]').forEach(
    (chart) => Plotly.relayout(chart, {'font.color': color}));
});

// Tables: a click on a heading sorts by its column, a second one the other way round.
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const heading = button.closest('th');
    const table = heading.closest('table');
    const column = heading.cellIndex;
    const down = heading.getAttribute('aria-sort') !== 'descending';
    table.querySelectorAll('th').forEach((each) => each.removeAttribute('aria-sort'));
    heading.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const value = (row) => row.cells[column].dataset.value;
    const compare = heading.dataset.kind === 'text'
      ? (a, b) => value(b).localeCompare(value(a))
      : (a, b) => (value(b) === '' ? -Infinity : +value(b)) - (value(a) === '' ? -Infinity : +value(a));
    const rows = [...table.tBodies[0].rows].sort(compare);
    table.tBodies[0].append(...(down ? rows : rows.reverse()));
  });
}

// Galleries: a filter by class, and the order of the cards.
for (const section of document.querySelectorAll('[data-samples]')) {
  const filter = section.querySelector('select[name=class]');
  const order = section.querySelector('select[name=order]');
  if (!order) continue;
  const show = () => {
    for (const list of section.querySelectorAll('.cards')) {
      const cards = [...list.children];
      for (const card of cards) {
        const classes = card.dataset.classes.split(' ');
        card.hidden = filter && filter.value !== '' ? !classes.includes(filter.value)
          : card.dataset.top === undefined;
      }
      const [key, sign] = order.value.split(':');
      const value = (card) => card.dataset[key] === undefined ? -Infinity : +card.dataset[key] * sign;
      list.append(...cards.sort((a, b) => value(b) - value(a) || a.dataset.place - b.dataset.place));
      const count = cards.filter((card) => !card.hidden).length;
      list.previousElementSibling.textContent = count ? '' : 'No image of this class in this list.';
    }
  };
  if (filter) filter.addEventListener('change', show);
  order.addEventListener('change', show);
}
