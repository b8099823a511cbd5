// SillyTavern's page in a real browser: a person's first evening with the gateway, from the first visit to every way a site can fail.
// Each test goes on where the one before it ended.
import assert from 'node:assert/strict';
import {join} from 'node:path';
import {after, afterEach, before, describe, it} from 'node:test';
import {root} from '../e2e/lib/gateway.mjs';
import {startBrowser} from './lib/browser.mjs';
import {KEY, faulty, startSites} from './lib/sites.mjs';
import {TavernPage} from './lib/tavern-page.mjs';
import {Tavern} from './lib/tavern.mjs';

let sites, tavern, browser, page;
before(async () => {
  sites = await startSites();
  tavern = await new Tavern().start();
  browser = await startBrowser();
  page = await TavernPage.open(browser, tavern.origin);
}, {timeout: 180000});
after(async () => {
  await browser?.close();
  await tavern?.stop();
  await sites?.stop();
});
afterEach(async (t) => { // the last words of a page that did not do as it should
  if (!t.error || !page) return;
  console.log(JSON.stringify(await page.state()));
  await page.shoot(join(root, 'build/test-results/sillytavern-failed.png'));
});

const MORNING = 'Good morning, Seraphina! Is the path to the old mill safe today?';
const good = (seen) => {
  assert.deepEqual([seen.user, seen.name, seen.toasts], [false, 'Seraphina', []]);
  return seen;
};
const bare = (model) => model.split('/').pop();

describe('a first evening', {timeout: 180000}, () => {
  it('the first visit asks for a name', () => page.introduce('Ann'));

  it('Connect says "Valid" and lists the models', async () => {
    assert.equal(await page.connect(sites.gateway.base, KEY), 'Valid');
    const ids = await page.models();
    for (const id of ['demo/echo', 'demo/slow', 'demo/reasoner', 'glm-4.7', 'gpt-test', 'org/nested:free']) assert.ok(ids.includes(id), `${id} in ${ids}`);
  });

  it('a message is answered word by word, and the answer stands in the chat', async () => {
    await page.model('demo/slow');
    await page.meet('Seraphina');
    const text = `200 ${MORNING}`, {texts, ...seen} = good(await page.say(text));
    assert.equal(seen.text, text);
    const growing = texts.filter((t) => t && t !== text && text.startsWith(t));
    assert.ok(growing.length >= 3, `${growing.length} states on the way: ${JSON.stringify(texts)}`);
    assert.deepEqual(growing, growing.toSorted((a, b) => a.length - b.length));
  });

  it('thinking stands apart from the answer', async () => {
    await page.model('demo/reasoner');
    const seen = good(await page.say('How many moons are there?'));
    assert.deepEqual([seen.reasoning, seen.text], ['The person says 5 words. I shall say them again.', 'How many moons are there?']);
  });

  it('several swipes at once', async () => {
    await page.model('demo/echo');
    await page.settings(() => page.type('#n_openai', '3'));
    assert.equal(good(await page.say('Three times the same.')).text, 'Three times the same.');
    await page.swipes('1/3');
    await page.click('#chat .last_mes .swipe_right');
    await page.swipes('2/3');
    assert.equal(good(await page.look()).text, 'Three times the same.');
    await page.settings(() => page.type('#n_openai', '1'));
  });

  it('Stop ends the answer here and at the gateway; what came stays', async () => {
    await page.model('demo/slow');
    const from = sites.gateway.stderr.length;
    await page.send(`150 ${'and on '.repeat(30)}`);
    await page.page.waitForFunction(() => window.texts.at(-1)?.startsWith('150 and on and'));
    await page.click('#mes_stop');
    await sites.gateway.logged(/end=cancelled/, {from, ms: 5000});
    await page.settled();
    const {text} = good(await page.look());
    assert.match(text, /^150 and on and/);
    assert.ok(text.length < 150, text);
  });

  it('and the next message is answered', async () => {
    await page.model('gpt-test');
    assert.equal(good(await page.say('Still there?')).text, 'Still there?');
    await page.swipes('1/1');
    await page.shoot(join(root, 'build/test-results/sillytavern.png'));
  });
});

describe('when something fails, a toast says what', {timeout: 180000}, () => {
  /** What a person sees of a failed message: one toast, and an answer only where there was one. */
  const failed = ({user, text, toasts}, title, message, answer) => {
    assert.deepEqual(user ? null : text, answer ?? null);
    assert.equal(toasts.length, 1, JSON.stringify(toasts));
    const [toast] = toasts;
    assert.deepEqual([toast.error, toast.title], [true, title]);
    assert.match(toast.message, message);
    assert.doesNotMatch(toast.message, /sk-|secret|</);
  };
  const rows = [
    ["the site's limit", bare(faulty('limited')), /limits the rate.*ready again in \d+ s/, 'Too Many Requests'],
    ['a bot check', bare(faulty('guarded')), /wants to see a human/, 'Forbidden: the site asks for a human'],
    ['an answer that breaks off', bare(faulty('broken')), /broke off in the middle/, "Bad Gateway: the site's answer broke off", 'Half'],
  ];
  for (const [what, model, message, , answer] of rows) {
    it(what, async () => {
      await page.model(model);
      failed(await page.say('Hello?'), 'Chat Completion API', message, answer);
    });
  }

  it('an unknown model', async () => {
    await page.typeModel('demo/eccho');
    failed(await page.say('Hello?'), 'Chat Completion API', /no model "demo\/eccho".*demo\/echo/);
  });

  it('with streaming off: the reason phrase, which is all that SillyTavern keeps', async () => {
    await page.settings(() => page.click('#stream_toggle'));
    failed(await page.say('Hello?'), 'API returned an error', /^Not Found$/);
    for (const [, model, , reason] of rows) {
      await page.model(model);
      failed(await page.say('Hello?'), 'API returned an error', new RegExp(`^${reason}$`));
    }
    await page.settings(() => page.click('#stream_toggle'));
  });

  it('a wrong key: no models, and the toast names the remedy', async () => {
    assert.notEqual(await page.connect(sites.gateway.base, 'sk-wrong'), 'Valid');
    assert.deepEqual(await page.models(), []);
    await page.typeModel('demo/echo');
    failed(await page.say('Hello?'), 'Chat Completion API', /API key is not one of the gateway's keys/);
  });

  it('and with the right key all is well again', async () => {
    assert.equal(await page.connect(`${sites.gateway.base}/`, KEY), 'Valid');
    await page.model('demo/echo');
    assert.equal(good(await page.say('Good night, Seraphina.')).text, 'Good night, Seraphina.');
  });
});
