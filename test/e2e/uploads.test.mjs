// Every site that pictures are uploaded to gets the same one once: over the turns of a chat, a restart, and until it forgets it.
// And a table of what each adapter takes of pictures, files and sound.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {Anthropic} from '../sites/anthropic.mjs';
import {ChatGlm, SIGN_SECRET, jwt as glmJwt} from '../sites/chatglm.mjs';
import {ClaudeWeb, key} from '../sites/claude_web.mjs';
import {Gemini} from '../sites/gemini.mjs';
import {Kimi} from '../sites/kimi.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {PictureServer, dataUrl, png} from '../sites/pictures.mjs';
import {Qwen, jwt as qwenJwt} from '../sites/qwen.mjs';
import {Sophnet} from '../sites/sophnet.mjs';
import {SIGNING_KEY, Zai, jwt} from '../sites/zai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError} from './lib/http.mjs';

const picture = (seed) => ({type: 'image_url', image_url: {url: dataUrl(png(seed), 'application/octet-stream')}});
const text = (words) => ({type: 'text', text: words});
const user = (...content) => ({role: 'user', content});
const said = {role: 'assistant', content: '你好, world 🌍'};
const uploads = (site) => [...site.files.values()].map((f) => f.mime ?? f.type ?? f.meta?.content_type ?? 'image/png');
const asked = (site) => site.chatRequests?.() ?? site.requests.filter((r) => /\/completion$/.test(r.path));
/** Requests that ask or upload: no lists, no clean-up. */
const asks = (site) => site.requests.filter((r) => r.method !== 'GET' && r.method !== 'DELETE' && !/delete/i.test(r.path)).length;
const refresh = glmJwt('refresh'), person = qwenJwt('person');

/** How each stand-in is configured. */
const sites = {
  'zai v1': {model: 'site/glm-4.6v', start: () => new Zai().start(), config: {adapter: 'zai', accounts: [{name: 'me', token: jwt('person')}]}},
  'zai v2': {model: 'site/glm-4.6v', start: () => new Zai({signingKey: SIGNING_KEY}).start(),
    config: {adapter: 'zai', options: {signing_key: SIGNING_KEY}, accounts: [{name: 'me', token: jwt('person')}]}},
  chatglm: {model: 'site/glm-5.3', start: () => new ChatGlm({refreshTokens: [refresh]}).start(),
    config: {adapter: 'chatglm', options: {sign_secret: SIGN_SECRET}, accounts: [{name: 'me', refresh_token: refresh}]}},
  'chatglm, the older way': {model: 'site/glm-5.3', start: () => new ChatGlm({refreshTokens: [refresh], olderUpload: true}).start(),
    config: {adapter: 'chatglm', options: {sign_secret: SIGN_SECRET}, accounts: [{name: 'me', refresh_token: refresh}]}},
  kimi: {model: 'site/kimi-k2.6', start: () => new Kimi().start(), options: (site) => ({auth_url: site.auth.origin}),
    config: {adapter: 'kimi', accounts: [{name: 'me', refresh_token: 'cpmt_0'}]}},
  'kimi, read slowly': {model: 'site/kimi-k2.6', start: async () => Object.assign(await new Kimi().start(), {slowFiles: 2}), options: (site) => ({auth_url: site.auth.origin}),
    config: {adapter: 'kimi', accounts: [{name: 'me', refresh_token: 'cpmt_0'}]}},
  qwen: {model: 'site/qwen3.6-plus', start: () => new Qwen({tokens: [person]}).start(), config: {adapter: 'qwen', accounts: [{name: 'me', token: person}]}},
  claude_web: {model: 'site/claude-sonnet-5', start: () => new ClaudeWeb().start(), config: {adapter: 'claude_web', accounts: [{name: 'me', session_key: key('one')}]}},
};

for (const [name, kind] of Object.entries(sites)) {
  describe(`uploads to ${name}`, {timeout: 120000}, () => {
    const running = [];
    afterEach(async () => {
      const done = running.splice(0).reverse();
      for (const thing of done) await thing.stop();
      for (const {violations, auth} of done) assert.deepEqual([...(violations ?? []), ...(auth?.violations ?? [])], []);
    });
    const serve = async (more = {}) => {
      const site = await kind.start();
      running.push(site);
      const options = {...kind.config.options, ...kind.options?.(site)};
      const gateway = await startGateway({sites: [{name: 'site', ...site.config({...(Object.keys(options).length ? {options} : {}), ...more}), adapter: kind.config.adapter, accounts: kind.config.accounts}]});
      running.push(gateway);
      return {site, gateway};
    };
    const ask = async (gateway, messages) => {
      const answer = await chat(gateway.base, {model: kind.model, messages});
      const body = await answer.text();
      assert.equal(answer.status, 200, body);
      assert.equal(JSON.parse(body).choices[0].message.content, said.content);
    };
    const restart = async (gateway) => {
      gateway.signal('SIGTERM');
      assert.equal(await gateway.exit(), 0);
      gateway.stdout = '';
      await gateway.start();
    };
    const first = user(text('What is it?'), picture(1));
    const three = [first, said, user(text('And this?'), picture(2), picture(1)), said, user(text('Thanks.'))];

    it('three turns of a chat: each picture once, with its true type; a restart does not matter', async () => {
      const {site, gateway} = await serve();
      await ask(gateway, three.slice(0, 1));
      assert.equal(site.files.size, 1);
      await ask(gateway, three.slice(0, 3)); // the first one stands twice in it: no site sees one file twice in a message
      assert.equal(site.files.size, 3);
      await ask(gateway, three);
      await restart(gateway);
      await ask(gateway, three);
      assert.deepEqual(uploads(site), Array(3).fill('image/png'));
      assert.equal(asked(site).length, 4);
      assert.ok(!gateway.stderr.includes(png(1).toString('base64').slice(0, 60)), 'a picture in the log');
    });

    it('a file that the site has forgotten is uploaded again, once, and the client sees nothing of it', async () => {
      const {site, gateway} = await serve();
      const gone = {status: 500, json: {error: {type: 'api_error', message: 'no such file'}, detail: 'no such file', message: 'no such file'}};
      await ask(gateway, [first]);
      site.next(gone);
      await ask(gateway, [first]);
      assert.deepEqual([site.files.size, asked(site).length], [2, 3]);
      await ask(gateway, [first]);
      assert.equal(site.files.size, 2);
      site.next(gone, gone);
      const answer = await chat(gateway.base, {model: kind.model, messages: [first]});
      assert.ok(answer.status >= 400, 'a site that fails twice is reported');
      assert.deepEqual([site.files.size, asked(site).length], [3, 6]);
    });
  });
}

describe('uploads', {timeout: 120000}, () => {
  const running = [];
  afterEach(async () => {
    const done = running.splice(0).reverse();
    for (const thing of done) await thing.stop();
    for (const {violations} of done) assert.deepEqual(violations ?? [], []);
  });

  it('are each account\'s own', async () => {
    const tokens = ['a', 'b'].map((id) => jwt(id));
    const site = await new Zai({tokens}).start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'zai', adapter: 'zai', ...site.config({strategy: 'round_robin'}), accounts: tokens.map((token, i) => ({name: `a${i}`, token}))}]});
    running.push(gateway);
    for (let i = 0; i < 4; i++) { // another first sentence is another chat, and another account's turn
      assert.equal((await chat(gateway.base, {model: 'zai/glm-4.6v', messages: [user(text(`${i}?`), picture(1))]})).status, 200);
    }
    assert.deepEqual([...site.files.values()].map((f) => f.user_id).sort(), ['a', 'b']);
  });

  it('that belong to a conversation are made anew in the next', async () => {
    const site = await new ClaudeWeb().start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'c', adapter: 'claude_web', ...site.config({options: {upload: 'wiggle'}}), accounts: [{name: 'me', session_key: key('one')}]}]});
    running.push(gateway);
    for (let i = 1; i <= 2; i++) {
      assert.equal((await chat(gateway.base, {model: 'c/claude-sonnet-5', messages: [user(text('What?'), picture(1))]})).status, 200);
      assert.equal(site.files.size, i);
    }
  });

  it('of pictures that were fetched are remembered like others', async () => {
    const site = await new Zai().start(), pictures = await new PictureServer({host: '127.0.0.2'}).start();
    running.push(site, pictures);
    const gateway = await startGateway({server: {fetch_images: true, fetch_images_from: ['127.0.0.2/32']},
      sites: [{name: 'zai', adapter: 'zai', ...site.config(), accounts: [{name: 'me', token: jwt('person')}]}]});
    running.push(gateway);
    for (const part of [{type: 'image_url', image_url: {url: `${pictures.origin}/7`}}, picture(7)]) {
      assert.equal((await chat(gateway.base, {model: 'zai/glm-4.6v', messages: [user(text('What?'), part)]})).status, 200);
    }
    assert.deepEqual([site.files.size, pictures.requests.length], [1, 1]);
  });
});

// What docs/pictures.md says in its table: '' = taken; else why not, before any request goes out.
const PDF = {type: 'file', file: {filename: 'a.pdf', file_data: dataUrl(Buffer.from('%PDF-1.7 a'), 'application/pdf')}};
const TEXT = {type: 'file', file: {filename: 'a.txt', file_data: dataUrl(Buffer.from('words'), 'text/plain')}};
const SOUND = {type: 'input_audio', input_audio: {data: Buffer.from('RIFF....WAVEfmt ').toString('base64'), format: 'wav'}};
const LINK = {type: 'image_url', image_url: {url: 'https://pictures.example/1.png'}};
const no = /cannot take|only pictures as data|stands at an address/;
const matrix = {
  //              picture, link, pdf, text, sound
  'zai v1': ['', no, no, no, no],
  'zai v2': ['', no, no, no, no],
  chatglm: ['', no, '', '', no],
  kimi: ['', no, no, no, no],
  qwen: ['', no, no, no, no],
  claude_web: ['', no, '', '', no],
  anthropic: ['', '', '', '', no],
  gemini: ['', no, '', '', ''],
  sophnet: ['', '', no, no, no],
  openai: ['', '', '', '', ''],
};
const others = {
  anthropic: {model: 'site/claude-sonnet-4-6', start: () => new Anthropic().start(), config: {adapter: 'anthropic', accounts: [{name: 'me', api_key: 'sk-ant-test'}]}},
  gemini: {model: 'site/gemini-2.5-flash', start: () => new Gemini().start(), config: {adapter: 'gemini', accounts: [{name: 'me', api_key: 'AIza-test'}]}},
  sophnet: {model: 'site/DeepSeek-V3-Fast', start: () => new Sophnet().start(), config: {adapter: 'sophnet', accounts: [{name: 'me', api_key: 'soph-key'}]}},
  openai: {model: 'site/gpt-test', start: () => new OpenAiSite().start(), config: {adapter: 'openai', accounts: [{name: 'me', api_key: 'sk-upstream'}]}, prefix: '/v1'},
};

for (const [name, row] of Object.entries(matrix)) {
  it(`what ${name} takes, and what it refuses before any request`, {timeout: 60000}, async () => {
    const kind = sites[name] ?? others[name];
    const site = await kind.start();
    const options = {...kind.config.options, ...kind.options?.(site)};
    const gateway = await startGateway({sites: [{name: 'site', ...site.config({...(Object.keys(options).length ? {options} : {}), ...(kind.prefix ? {base_url: site.origin + kind.prefix} : {})}), adapter: kind.config.adapter, accounts: kind.config.accounts}]});
    try {
      for (const [i, part] of [picture(3), LINK, PDF, TEXT, SOUND].entries()) {
        const before = asks(site);
        const answer = await chat(gateway.base, {model: kind.model, messages: [user(text('What is it?'), part)]});
        if (row[i] === '') {
          assert.equal(answer.status, 200, `${part.type} ${i}: ${await answer.text()}`);
          continue;
        }
        const {error} = await checkError(answer, {status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'messages[0].content[1]'});
        assert.match(error.message, row[i]);
        assert.equal(asks(site), before);
      }
    } finally {
      await gateway.stop();
      await site.stop();
    }
    assert.deepEqual([...site.violations, ...(site.auth?.violations ?? [])], []);
  });
}
