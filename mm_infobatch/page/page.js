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

// Tables: a click on a heading sorts by its column, numbers from the largest, a second one the other way.
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const heading = button.closest('th');
    const body = heading.closest('table').tBodies[0];
    const text = heading.dataset.kind === 'text';
    const before = heading.getAttribute('aria-sort');
    const down = before ? before === 'ascending' : !text;
    heading.parentElement.querySelectorAll('th').forEach((each) => each.removeAttribute('aria-sort'));
    heading.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const value = (row) => row.cells[heading.cellIndex].dataset.value;
    const number = (row) => value(row) === '' ? -Infinity : +value(row);
    const ascending = text
      ? (a, b) => value(a).localeCompare(value(b))
      : (a, b) => number(a) === number(b) ? 0 : number(a) - number(b);
    const rows = [...body.rows].sort(ascending);
    body.append(...(down ? rows.reverse() : rows));
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
