// What makes the pages live: rows of decisions as they come, and a form that is sent once. Every page works without it.
'use strict';

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
