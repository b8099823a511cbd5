// capture_dir: what was said in a turn that failed, or that had drift, as files that hold no secret.
import assert from 'node:assert/strict';
import {readFileSync, readdirSync, rmdirSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {ChatGlm, SIGN_SECRET, event, finish, jwt, say, siteError} from '../sites/chatglm.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';

const CLIENT_KEY = 'client-key-of-mine-0123', SITE_KEY = 'a"key/with+odd characters';
const hologram = event('init', {id: 'm', logic_id: 'z', status: 'init', content: [{type: 'hologram', hologram: 'x'}]});

describe('capture_dir', {timeout: 120000}, () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const capturesOf = (gateway) => {
    const folder = join(gateway.directory, 'captures');
    return readdirSync(folder).filter((name) => name.endsWith('.setup.json')).sort().map((name) => {
      const stem = name.slice(0, -'.setup.json'.length);
      const file = readdirSync(folder).find((other) => other.startsWith(`${stem}.`) && other !== name);
      return {file: join(folder, file), text: readFileSync(join(folder, file), 'utf8') + readFileSync(join(folder, name), 'utf8'),
        body: readFileSync(join(folder, file)), setup: JSON.parse(readFileSync(join(folder, name), 'utf8')), folder, name};
    });
  };
  const written = (gateway, n) => gateway.logged(new RegExp(`(captured as [^]*){${n}}`));
  const start = async (config) => {
    const gateway = await startGateway({...config, server: {...config.server}});
    running.push(gateway);
    return gateway;
  };
  const glm = async ({keys = []} = {}) => {
    const refresh = jwt('refresh');
    const site = await new ChatGlm({refreshTokens: [refresh]}).start();
    running.push(site);
    const gateway = await start({server: {capture_dir: 'captures'}, keys, sites: [{name: 'glm', adapter: 'chatglm', ...site.config({options: {sign_secret: SIGN_SECRET}}), accounts: [{name: 'me', refresh_token: refresh}]}]});
    const ask = (content = 'x') => chat(gateway.base, {model: 'glm/glm-5.3', ...user(content)}, {headers: {authorization: `Bearer ${CLIENT_KEY}`}});
    return {site, gateway, ask, refresh};
  };

  it('writes a failed turn, and not one that is fine', async () => {
    const {site, gateway, ask} = await glm();
    assert.equal((await ask()).status, 200);
    assert.deepEqual(readdirSync(join(gateway.directory, 'captures')), []);
    site.next([...say('a', 'text', 'Half ', '一半').slice(0, 2), siteError(10024, 'sensitive')]);
    await (await ask()).text();
    await written(gateway, 1);
    const [{file, body, setup, folder, name}] = capturesOf(gateway);
    assert.match(file, /capture-\d{8}T\d{9}-glm-\S+\.sse$/);
    assert.match(String(body), /^event:message\ndata: \{[^]*一半[^]*sensitive[^]*\n\n$/);
    for (const path of [file, join(folder, name)]) assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.equal(setup.adapter, 'chatglm');
    const {request, answer} = setup.steps.at(-1);
    assert.deepEqual([request.method, answer.status, answer.content_type], ['POST', 200, 'text/event-stream; charset=utf-8']);
    assert.ok(['clean', 'left'].includes(answer.end), answer.end);
    assert.ok(answer.splits.length > 0 && answer.splits.at(-1) === body.length);
    assert.ok(setup.failure.kind && setup.failure.message);
    assert.deepEqual(setup.drift, []);
  });

  it('writes a turn with drift, though it went well', async () => {
    const {site, gateway, ask} = await glm();
    site.next([hologram, ...say('a', 'text', 'Hello'), finish]);
    assert.equal((await (await ask()).json()).choices[0].message.content, 'Hello');
    await written(gateway, 1);
    const [{setup, body}] = capturesOf(gateway);
    assert.equal(setup.failure, undefined);
    assert.deepEqual(setup.drift, ['unknown content type']);
    assert.match(String(body), /hologram/);
  });

  it('holds no secret that the site puts into the head of its answer', async () => {
    const {site, gateway, ask} = await glm();
    site.answer = (r, res) => {
      const {access} = site.last;
      res.writeHead(400, `Bad ${access}`, {'content-type': `application/json; of="${access}"`, [access]: 'name', link: access});
      res.end('{"status":40001}');
    };
    await (await ask()).text();
    await written(gateway, 1);
    const [{text, setup}] = capturesOf(gateway);
    assert.equal(setup.steps.at(-1).answer.status, 400);
    assert.ok(!text.toLowerCase().includes(site.last.access.slice(8, 30).toLowerCase()), text);
  });

  it('holds no secret: not of the configuration, obtained, of the client, or said by the site', async () => {
    const {site, gateway, ask, refresh} = await glm({keys: [{name: 'k', key: CLIENT_KEY}]});
    site.next((r, res, send) => {
      send(event('init', {content: [{type: 'hologram', told: [refresh, site.last.access, site.last.refresh, SIGN_SECRET, `key ${CLIENT_KEY}.`, CLIENT_KEY], access_token: 'another-very-long-token-of-somebody'}]}));
      res.end();
    });
    await (await ask(`my key is ${CLIENT_KEY} and 你好`)).text();
    await written(gateway, 1);
    const [{text, setup, body}] = capturesOf(gateway);
    assert.equal(setup.steps.length, 2, 'the token is obtained, then the answer');
    for (const secret of [refresh, site.last.access, site.last.refresh, SIGN_SECRET, CLIENT_KEY, 'another-very-long-token-of-somebody']) {
      assert.ok(!text.includes(secret), `${secret} in ${text}`);
      assert.ok(!text.includes(secret.slice(0, 24).slice(8)) || secret.length < 30, 'a part of it');
    }
    assert.match(text, /你好/); // what was asked is there
    assert.match(setup.steps[0].request.headers.find(([name]) => /^authorization$/i.test(name))[1], /^\*+$/);
    JSON.parse(/data: (.*)/.exec(String(body))[1]); // still what it was, but for the asterisks
    assert.ok(!gateway.stderr.includes(refresh));
  });

  it('finds a key however it is written', async () => {
    const site = await new OpenAiSite({keys: null}).start();
    site.check = () => {};
    running.push(site);
    const gateway = await start({server: {capture_dir: 'captures'}, sites: [{name: 'open', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`}), accounts: [{name: 'a', api_key: SITE_KEY}]}]});
    site.plans.push(function (r, res) {
      res.writeHead(500, {'content-type': 'application/json', 'set-cookie': 'session=cookie-value-77; Path=/', 'x-request': '1'});
      res.end(JSON.stringify({error: {message: `${SITE_KEY} cookie-value-77 ${encodeURIComponent(SITE_KEY)} ${Buffer.from(SITE_KEY).toString('base64')}`}}));
    });
    await (await chat(gateway.base, {model: 'open/m', ...user('x')})).text();
    await written(gateway, 1);
    const [{text, file, setup}] = capturesOf(gateway);
    assert.match(file, /\.json$/);
    for (const form of [SITE_KEY, JSON.stringify(SITE_KEY).slice(1, -1), encodeURIComponent(SITE_KEY), Buffer.from(SITE_KEY).toString('base64'), 'cookie-value-77']) {
      assert.ok(!text.includes(form), `${form} in ${text}`);
    }
    assert.deepEqual(setup.steps[0].answer.headers.find(([name]) => name.toLowerCase() === 'x-request')?.[1], '1');
    assert.equal(setup.steps[0].answer.status, 500);
  });

  it('is bounded: 4 MiB of answers, the latest 50', async () => {
    const {site, gateway, ask} = await glm();
    const folder = join(gateway.directory, 'captures');
    for (let i = 0; i < 60; i++) {
      writeFileSync(join(folder, `capture-20200101T0000000${10 + i}-glm-x.sse`), '');
      writeFileSync(join(folder, `capture-20200101T0000000${10 + i}-glm-x.setup.json`), '{}');
    }
    writeFileSync(join(folder, 'mine.sse'), 'stays');
    site.next([event('init', {content: [{type: 'hologram', hologram: 'x'.repeat(6 << 20)}]}), ...say('a', 'text', 'Hello'), finish]);
    await (await ask()).text();
    await written(gateway, 1);
    const files = readdirSync(folder);
    assert.equal(files.filter((name) => name.endsWith('.setup.json')).length, 50);
    assert.equal(files.length, 101);
    assert.ok(files.includes('mine.sse'));
    const {body, setup} = capturesOf(gateway).at(-1);
    assert.ok(body.length <= 4 << 20 && body.length > 4000000, `${body.length}`);
    assert.ok(setup.steps.at(-1).answer.left_out > 2000000);
  });

  it('a folder that cannot be used is a warning, and nothing else fails', async () => {
    const {site, gateway, ask} = await glm();
    rmdirSync(join(gateway.directory, 'captures')); // as it was made at the start
    writeFileSync(join(gateway.directory, 'captures'), 'a file');
    site.next([siteError(10024, 'no')]);
    await (await ask()).text();
    await gateway.logged(/warn +a capture is not kept in .*captures: cannot use the folder/);
    assert.equal((await ask()).status, 200);
  });

  it('is off by default', async () => {
    const site = await new OpenAiSite().start();
    running.push(site);
    const gateway = await start({sites: [{name: 'open', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    site.plans.push({status: 500, json: {error: {message: 'no'}}});
    await (await chat(gateway.base, {model: 'open/m', ...user('x')})).text();
    await gateway.logged(/end=failed/);
    gateway.signal('SIGTERM');
    await gateway.exit();
    assert.doesNotMatch(gateway.stderr, /captur/);
    assert.deepEqual(readdirSync(gateway.directory).sort(), ['data', 'gateway.toml']);
  });
});
