//! The panel as a person uses it: every page that a link leads to, forms, the keyboard alone, decisions as they come.
//! Judges nothing but what Chromium and axe say; tells what a page got to see.

import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';

import { serve } from '../tokens/lines.mjs';
import { start } from './program.mjs';

const require = createRequire(new URL('../../../target/tools/packages/browser/', import.meta.url));
const axe = require.resolve('axe-core/axe.min.js');
const browser = await start();
let [context, page, faults] = [null, null, []];

/** Everything that a browser complains about, whatever the page. */
function listen(watched) {
    watched.setDefaultTimeout(20_000);
    watched.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) faults.push(`${watched.url()}: ${message.text()}`);
    });
    watched.on('pageerror', (error) => faults.push(`${watched.url()}: ${error.message}`));
}

async function open({ scheme, width }) {
    await context?.close();
    context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 820 } });
    page = await context.newPage();
    listen(page);
    return {};
}

async function signIn({ base, token }) {
    await page.goto(`${base}/panel/sign-in`);
    await page.fill('#token', token);
    await page.click('main button[type=submit]');
    return { url: page.url(), who: await page.textContent('.who').catch(() => null) };
}

/** What axe finds serious; it needs what the policy of the pages forbids, and so runs in a browser that ignores it. */
async function judged(url) {
    const { colorScheme, width } = await page.evaluate(() => ({ colorScheme: matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light', width: innerWidth }));
    const lax = await browser.newContext({ bypassCSP: true, colorScheme, viewport: { width, height: 820 }, storageState: await context.storageState() });
    const other = await lax.newPage();
    await other.goto(url);
    await other.addScriptTag({ path: axe });
    const { violations } = await other.evaluate(() => globalThis.axe.run());
    await lax.close();
    const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    return serious.map(({ id, nodes }) => `${url}: ${id}: ${nodes[0].html.slice(0, 200)}`);
}

/** Every page that links lead to from the first one, each once. */
async function tour({ base, folder }) {
    const [seen, pages, waiting] = [new Set(), [], ['/panel', '/panel/sign-in', '/panel/nowhere']];
    while (waiting.length && pages.length < 80) {
        const path = waiting.shift();
        const kind = path.split('?')[0];
        // One of each kind, and each kind of filter once.
        const known = `${kind}?${[...new URL(path, base).searchParams.keys()].sort().join('&')}`;
        if (seen.has(known)) continue;
        seen.add(known);
        const response = await page.goto(base + path);
        const told = await page.evaluate(() => ({
            wide: document.documentElement.scrollWidth - innerWidth,
            links: [...document.querySelectorAll('a[href^="/panel"]')].map((link) => link.getAttribute('href')),
            current: document.querySelectorAll('nav a[aria-current=page]').length,
            title: document.title,
        }));
        waiting.push(...told.links);
        await page.screenshot({ path: join(folder, `${pages.length}-${kind.replaceAll('/', '_')}.png`), fullPage: true });
        pages.push({ path, status: response.status(), wide: told.wide, title: told.title, serious: await judged(base + path) });
    }
    return { pages };
}

/** RFC 6238 of a base-32 secret. */
function code(secret) {
    const bits = [...secret].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
    const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
    const digest = createHmac('sha1', key).update(counter).digest();
    const offset = digest.at(-1) & 15;
    return String((digest.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

const submit = (label) => page.getByRole('button', { name: label }).click();
const heading = () => page.textContent('h1');

/** Makes a key, rotates it and revokes another, with the forms as they stand. */
async function keys({ base }) {
    const make = async (name) => {
        await page.goto(`${base}/panel/keys`);
        await page.getByRole('link', { name: 'Make a key' }).click();
        await page.getByLabel('Name').fill(name);
        await page.getByLabel('Scopes').fill('orders:read');
        await submit('Make the key');
        return page.textContent('.secret');
    };
    const made = await make('To be rotated');
    // What a reload of the page sends is the form again.
    await page.reload();
    const again = await page.textContent('main');
    await page.goto(`${base}/panel/keys`);
    await page.getByRole('link', { name: 'To be rotated' }).click();
    await page.getByLabel('The old secret goes on for').fill('0');
    await submit('Rotate the key');
    const rotated = await page.textContent('.secret');
    const revoked = await make('To be revoked');
    await page.goto(`${base}/panel/keys`);
    await page.getByRole('link', { name: 'To be revoked' }).click();
    await page.getByRole('link', { name: 'Revoke…' }).click();
    const asked = await heading();
    await submit('Revoke the key');
    return { made, again, rotated, revoked, asked, list: await page.textContent('main') };
}

/** A fault stands at its field, and what was typed stays. */
async function faulty({ base }) {
    await page.goto(`${base}/panel/keys/new`);
    await page.getByLabel('Name').fill('Mine');
    await page.getByLabel('Scopes').fill('not a:*:scope');
    await submit('Make the key');
    return { name: await page.getByLabel('Name').inputValue(), fault: await page.textContent('#scopes-fault'), serious: await judged(page.url()) };
}

/** Scans, proves, and is shown backup codes. */
async function factor({ base }) {
    await page.goto(`${base}/panel/factor`);
    await submit('Set it up');
    const secret = await page.textContent('.secret');
    const picture = await page.locator('img.qr').evaluate((image) => image.complete && image.naturalWidth);
    await page.getByLabel('Code').fill(code(secret.trim()));
    await submit('Turn it on');
    const codes = await page.locator('ol.codes li').allTextContents();
    await page.goto(`${base}/panel/factor`);
    return { secret, picture, codes, state: await page.textContent('main') };
}

/** From the skip link to an explanation, without a mouse. */
async function keyboard({ base }) {
    await page.goto(`${base}/panel/explain`);
    const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() || document.activeElement?.id || '');
    const press = async (...keys) => {
        for (const key of keys) await page.keyboard.press(key);
    };
    await press('Tab');
    const first = await focused();
    await press('Enter', 'Tab', 'Tab');
    await page.keyboard.type('/orders');
    await press('Tab', 'Tab');
    await page.keyboard.type('reader');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    await press('Enter');
    await page.waitForURL(/as=reader/);
    return { first, outline, answer: await page.textContent('#answer') };
}

/** What is typed narrows a list, and an open page goes on by itself; neither loads a page anew. */
async function lively({ base }) {
    await page.goto(`${base}/panel/routes`);
    await page.evaluate(() => (globalThis.here = true));
    await page.locator('#q').pressSequentially('reports');
    await page.waitForFunction(() => document.getElementById('rows').textContent.startsWith('1 of'));
    const narrowed = { same: await page.evaluate(() => globalThis.here === true), url: page.url() };
    await page.goto(`${base}/panel`);
    await page.evaluate(() => document.querySelector('#live dl').setAttribute('id', 'old'));
    await page.waitForFunction(() => !document.getElementById('old') && document.querySelector('#live dl'));
    return narrowed;
}

/** Rows of decisions that came since the page was opened. */
async function live({ base }) {
    await page.goto(`${base}/panel/decisions`);
    await page.waitForFunction(() => document.getElementById('stream').textContent.startsWith('Live'));
    return { rows: await page.locator('#decisions tr').count() };
}

await serve(
    { ready: true },
    {
        open,
        signIn,
        tour,
        keys,
        faulty,
        factor,
        keyboard,
        lively,
        live,
        /** Waits until so many rows name this. */
        rows: async ({ text, count }) => {
            await page.waitForFunction(({ text, count }) => [...document.querySelectorAll('#decisions tr')].filter((row) => row.textContent.includes(text)).length >= count, { text, count });
            return { rows: await page.locator('#decisions tr').count(), told: await page.textContent('#stream') };
        },
        /** What the first row of that name opens, above the rows that go on. */
        detail: async ({ text }) => {
            await page.locator('#decisions tr', { hasText: text }).first().locator('a[data-detail]').click();
            await page.waitForFunction(() => document.querySelector('#detail h2'));
            return { detail: await page.textContent('#detail'), url: page.url() };
        },
        visit: async ({ url }) => ({ status: (await page.goto(url)).status(), text: await page.textContent('body') }),
        faults: () => ({ faults: faults.splice(0) }),
    },
);
