// Debian's Chromium without a screen, that reaches nobody but this machine.
import {existsSync} from 'node:fs';
import puppeteer from 'puppeteer-core';

export function startBrowser() {
  const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  return puppeteer.launch({executablePath, headless: true, defaultViewport: {width: 1280, height: 900}, args: [
    '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost']});
}
