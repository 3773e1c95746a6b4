'use strict';
// The playground's page: sends the form, shows what the server reports. All HTML is made and escaped by the server.

const find = id => document.getElementById(id);
const form = find('form');
let job = null; // The name of the job that is drawn.
let events = null;

function say(text) { find('status').textContent = text; }

function complain(text, key) {
  find('error').textContent = text;
  for (const field of form.elements) {
    if (text && field.name === key && key) field.setAttribute('aria-invalid', 'true');
    else field.removeAttribute('aria-invalid');
  }
  const field = key && form.elements[key];
  if (field && field.focus) {
    const fold = field.closest('details');
    if (fold) fold.open = true;
    field.focus();
  }
}

function busy(is) {
  find('draw').disabled = is;
  find('cancel').hidden = !is;
  find('progress').hidden = !is;
}

function finish(text) {
  if (events) events.close();
  events = job = null;
  busy(false);
  say(text);
}

/** Adds the parts of an image to its prior's row. */
function add(prior, html) {
  const parts = document.createElement('template');
  parts.innerHTML = html;
  for (const section of find('result').querySelectorAll('.system')) {
    if (section.dataset.prior !== prior) continue;
    for (const part of [...parts.content.children]) section.querySelector(`[data-part="${part.dataset.to}"]`).append(part);
  }
  showFrame();
}

function section(prior, selector, text) {
  for (const section of find('result').querySelectorAll('.system')) {
    if (section.dataset.prior === prior) section.querySelector(selector).textContent = text;
  }
}

/** Of an interpolation, shows the frame that the slider points at. */
function showFrame() {
  const slider = find('at');
  if (!slider) return;
  const all = find('all').checked;
  for (const frame of find('result').querySelectorAll('[data-number]')) {
    frame.hidden = !all && frame.dataset.number !== slider.value;
  }
  const last = Number(slider.max);
  slider.setAttribute('aria-valuetext', `${Math.round(100 * slider.value / last)} % of the way to the second prompt`);
}

function watch(name) {
  job = name;
  busy(true);
  events = new EventSource(`/api/jobs/${name}/events`);
  const on = (kind, act) => events.addEventListener(kind, event => act(JSON.parse(event.data)));
  on('status', ({ text, done, of }) => {
    // Screen readers read the status: once a stage, not once a step.
    if (find('status').textContent !== text) say(text);
    find('steps').textContent = of ? `step ${done} of ${of}` : '';
    const bar = find('progress').firstElementChild;
    if (of) [bar.max, bar.value] = [of, done];
    else bar.removeAttribute('value');
  });
  on('image', ({ prior, html }) => add(prior, html));
  on('skipped', ({ prior, reason }) => section(prior, '.skipped', reason));
  on('done', ({ summary, counts, items }) => {
    find('summary').textContent = summary;
    find('n-items').textContent = items;
    for (const [prior, text] of counts) section(prior, '.count', text);
    finish('Done.');
  });
  on('failed', ({ error }) => { finish(''); complain(error); });
  on('cancelled', () => finish('Cancelled.'));
  events.onerror = () => { if (events && events.readyState === EventSource.CLOSED) finish('The connection to the playground was lost.'); };
}

form.addEventListener('submit', async event => {
  event.preventDefault();
  if (job) return;
  complain('');
  say('Sending…');
  find('draw').disabled = true;
  let answer;
  try {
    const response = await fetch('/api/draw', { method: 'POST', body: new URLSearchParams(new FormData(form)) });
    answer = await response.json();
  } catch {
    answer = { error: 'The playground does not answer: is `eclipse serve` still running?' };
  }
  find('draw').disabled = false;
  say('');
  if (answer.error) return complain(answer.error, answer.key);
  history.replaceState(null, '', `/?${answer.query}`);
  find('result').innerHTML = answer.html;
  showFrame();
  find('result').scrollIntoView({ block: 'nearest' });
  if (answer.job) watch(answer.job);
  else say('Drawn before: shown from the gallery.');
});

find('cancel').addEventListener('click', () => {
  if (job) fetch(`/api/jobs/${job}/cancel`, { method: 'POST' });
  say('Cancelling…');
});

find('other').addEventListener('click', () => {
  form.elements.seed.value = Math.floor(Math.random() * 1e6);
});

document.addEventListener('input', event => {
  if (['at', 'all'].includes(event.target.id)) showFrame();
});

document.addEventListener('click', async event => {
  if (event.target.id !== 'copy') return;
  try {
    await navigator.clipboard.writeText(find('share').href);
    event.target.textContent = 'Copied';
  } catch {
    event.target.textContent = 'Not allowed: copy the address of the link';
  }
});

showFrame();
