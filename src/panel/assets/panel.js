// What makes the pages live: rows of decisions as they come, and forms that are sent once. Every page works without it.
'use strict';

/** Rows that a table keeps, however long a page is open. */
const KEPT = 500;

/** Whoever waits presses again: a form goes out once. */
document.addEventListener('submit', (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== 'post') return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = 'yes';
});
addEventListener('pageshow', () => {
    for (const form of document.querySelectorAll('form[data-sent]')) delete form.dataset.sent;
});

/** On a phone the navigation is a strip, and the page that is open may be beyond its edge. */
const strip = document.querySelector('.side nav');
const current = strip?.querySelector('[aria-current]');
if (current) strip.scrollLeft = current.offsetLeft - strip.offsetLeft - strip.clientWidth / 3;

/** The explanation of a row, above the rows that go on. */
document.addEventListener('click', async (event) => {
    const place = document.getElementById('detail');
    if (place && event.target.closest('a[data-close]') && document.querySelector('[data-stream]')) {
        event.preventDefault();
        place.replaceChildren();
        return;
    }
    const link = event.target.closest('a[data-detail]');
    if (!link || !place || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    await htmx.ajax('GET', link.href, { target: '#detail', select: '#detail', swap: 'outerHTML' });
    const shown = document.getElementById('detail');
    shown.tabIndex = -1;
    shown.focus();
});

function watch(place) {
    const rows = document.getElementById(place.dataset.rows);
    const told = place.querySelector('[role=status]');
    const pause = place.querySelector('button');
    const counts = { shown: 0, passed: 0, missed: 0 };
    let [base, source, waiting] = [{ passed: 0, missed: 0 }, null, ''];

    const tell = (state) => {
        const dropped = counts.missed ? `, ${counts.missed.toLocaleString('en')} dropped` : '';
        const passed = counts.passed ? `, ${counts.passed.toLocaleString('en')} too fast to show` : '';
        told.textContent = `${state}: ${counts.shown.toLocaleString('en')} new${passed}${dropped}`;
    };
    const show = () => {
        if (!waiting) return;
        rows.insertAdjacentHTML('afterbegin', waiting);
        waiting = '';
        while (rows.rows.length > KEPT) rows.lastElementChild.remove();
        document.getElementById('nothing')?.remove();
    };
    const open = () => {
        source = new EventSource(place.dataset.stream);
        source.onopen = () => {
            base = { passed: counts.passed, missed: counts.missed };
            tell('Live');
        };
        source.onerror = () => tell(source.readyState === EventSource.CLOSED ? 'Ended; reload the page' : 'Connection lost, trying again');
        source.addEventListener('counts', ({ data }) => {
            const { passed, missed } = JSON.parse(data);
            counts.passed = base.passed + passed;
            counts.missed = base.missed + missed;
        });
        source.addEventListener('rows', ({ data }) => {
            counts.shown += data.split('<tr>').length - 1;
            if (!waiting) requestAnimationFrame(show);
            waiting = data + waiting;
            tell('Live');
        });
    };
    pause.hidden = false;
    pause.addEventListener('click', () => {
        const paused = pause.getAttribute('aria-pressed') !== 'true';
        pause.setAttribute('aria-pressed', `${paused}`);
        pause.textContent = paused ? 'Go on' : 'Pause';
        if (paused) {
            source.close();
            tell('Paused');
        } else {
            open();
        }
    });
    addEventListener('pagehide', () => source.close());
    open();
}
for (const place of document.querySelectorAll('[data-stream]')) watch(place);
