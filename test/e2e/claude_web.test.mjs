// Claude's web app, through a stand-in that checks every request against the dossier.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {gzipSync} from 'node:zlib';
import OpenAI from 'openai';
import {ClaudeWeb, ORG, block, fine, key, limit, reason, say, siteError, stop} from '../sites/claude_web.mjs';
import {within} from '../sites/site.mjs';
import {Gateway, root, run, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const picture = {type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}};
const up = 'upstream_error';
const soon = () => Math.floor(Date.now() / 1000) + 90;

describe('claude_web', () => {
  const running = [];
  afterEach(async () => {
    const sites = running.filter((t) => t instanceof ClaudeWeb);
    for (const thing of running.splice(0).reverse()) await thing.stop();
    for (const site of sites) assert.deepEqual(site.violations, []);
  });
  const serve = async ({site: siteOptions = {}, accounts = [{name: 'me', session_key: key('one')}], options, server = {}, ...more} = {}) => {
    const site = await new ClaudeWeb(siteOptions).start();
    running.push(site);
    const gateway = await startGateway({server, sites: [{name: 'claude_web', adapter: 'claude_web', ...site.config({...(options ? {options} : {}), ...more}), accounts}]});
    running.push(gateway);
    return {site, gateway};
  };
  const ask = (gateway, body = {}, options) => chat(gateway.base, {model: 'claude_web/claude-sonnet-5', ...user('你好'), ...body}, options);
  const sdk = (gateway) => new OpenAI({apiKey: 'none', baseURL: gateway.base, maxRetries: 0});

  it('streamed to the openai SDK: a temporary conversation, the organization asked for once', async () => {
    const {site, gateway} = await serve();
    for (let i = 0; i < 2; i++) {
      let text = '', finish;
      for await (const {choices: [c]} of await sdk(gateway).chat.completions.create({model: 'claude_web/claude-sonnet-5', ...user('你好'), stream: true})) {
        text += c?.delta.content ?? '';
        finish = c?.finish_reason ?? finish;
      }
      assert.deepEqual([text, finish], ['你好, world 🌍', 'stop']);
    }
    assert.equal(site.requests.filter((r) => r.path === '/api/organizations').length, 1);
    assert.deepEqual([...site.conversations.values()].map((c) => [c.is_temporary, c.deleted]), [[true, false], [true, false]]);
    assert.equal(site.chatRequests()[0].json.prompt, '你好');
  });

  it('whole, with reasoning and search', async () => {
    const {site, gateway} = await serve();
    site.next('reasoning');
    const {choices: [{message, finish_reason}], usage} = await sdk(gateway).chat.completions.create({
      model: 'claude_web/claude-sonnet-5-search', ...user('2+2?'), reasoning_effort: 'medium', max_tokens: 100});
    assert.deepEqual([message.content, message.reasoning_content, finish_reason], ['4.', 'First I add. Then I check.', 'stop']);
    assert.ok(usage.completion_tokens > 0);
    const b = site.chatRequests()[0].json;
    assert.deepEqual([b.thinking_mode, b.effort, b.tools.length, b.max_tokens_to_sample], ['auto', 'medium', 1, 100]);
  });

  it('the history is one prompt, or one attachment', async () => {
    const messages = [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'a'}, {role: 'assistant', content: 'b'}, {role: 'user', content: 'c'}];
    const flat = 'Be brief.\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:';
    for (const history of ['prompt', 'attachment']) {
      const {site, gateway} = await serve({options: {history}});
      assert.equal((await ask(gateway, {messages})).status, 200);
      const {prompt, attachments} = site.chatRequests()[0].json;
      assert.equal(history === 'prompt' ? prompt : attachments[0].extracted_content, flat);
      assert.equal(attachments.length, history === 'prompt' ? 0 : 1);
    }
  });

  it('an empty session key of the site does not take the place of a configured one', async () => {
    const {site, gateway} = await serve();
    site.cookies = () => ({'set-cookie': ['sessionKey=; Path=/']});
    for (let i = 0; i < 2; i++) assert.equal((await ask(gateway)).status, 200);
  });

  it('a flood of citations and of short lines costs no square of time or memory', async () => {
    const {site, gateway} = await serve();
    const delta = (more, index = 1) => ({type: 'content_block_delta', index, delta: more});
    const ids = Array.from({length: 30000}, (_, i) => `citation-${i}`);
    site.next([{type: 'message_start', message: {uuid: 'a'.repeat(100000)}},
      ...Array.from({length: 4}, () => [block(0, 'thinking'), ...Array.from({length: 8000}, () => delta({type: 'thinking_summary_delta', summary: {summary: 'x'}}, 0)),
        {type: 'content_block_stop', index: 0}]).flat(),
      block(1, 'text'), ...ids.map((uuid) => delta({type: 'citation_start_delta', citation: {uuid, url: `https://x.example/${uuid}`, title: 't'}})), say('Found.', 1),
      ...ids.map((citation_uuid) => delta({type: 'citation_end_delta', citation_uuid})), reason('end_turn'), stop]);
    const answer = await ask(gateway, {}, {signal: AbortSignal.timeout(60000)});
    const {choices: [{message}]} = await answer.json();
    assert.deepEqual([message.content, message.annotations.length], ['Found.', 1000]);
    const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8'))[1]) / 1024;
    assert.ok(peak < 200, `${peak} MB`);
  });

  for (const upload of ['classic', 'wiggle']) {
    it(`pictures are uploaded first, the ${upload} way`, async () => {
      const {site, gateway} = await serve({options: {upload}});
      const answer = await ask(gateway, {messages: [{role: 'user', content: [{type: 'text', text: 'What is it?'}, picture, picture]}]});
      assert.equal(answer.status, 200, await answer.text());
      assert.deepEqual([...site.files.values()].map((f) => [f.size_bytes, Boolean(f.conversation)]), Array(2).fill([Buffer.from(PNG, 'base64').length, upload === 'wiggle']));
      assert.deepEqual(site.chatRequests()[0].json.files, [...site.files.keys()]);
    });
  }

  it('a refused upload ends the turn before any completion', async () => {
    const {site, gateway} = await serve();
    const messages = [{role: 'user', content: [picture]}];
    site.early.upload = [{status: 413, html: '<html>too large</html>'}, {status: 400, json: siteError('invalid_request_error', 'no such kind')}];
    await checkError(await ask(gateway, {messages}), {status: 400, type: 'invalid_request_error', code: 'context_length_exceeded'});
    await checkError(await ask(gateway, {messages}), {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true});
    assert.equal(site.chatRequests().length, 0);
  });

  it('a new session key takes the place of the old one, during a run and after a restart', async () => {
    const site = await new ClaudeWeb().start();
    running.push(site);
    const config = {sites: [{name: 'claude_web', adapter: 'claude_web', ...site.config(), accounts: [{name: 'me', session_key: key('one')}]}]};
    const first = await new Gateway(config).start();
    site.rotations = [key('two'), key('three')];
    assert.equal((await ask(first)).status, 200); // the stand-in insists on the newest cookies from the next request on
    site.sessions = new Set([key('three')]);
    assert.equal((await ask(first)).status, 200);
    const data = join(first.directory, 'data');
    const second = new Gateway({server: {data_dir: data}, ...config});
    first.signal('SIGTERM');
    await first.exit();
    running.push(second);
    await second.start();
    assert.equal((await ask(second)).status, 200);
    assert.equal(site.chatRequests().at(-1).key, key('three'));
    assert.equal(site.requests.filter((r) => r.path === '/api/organizations').length, 1);
    running.push({stop: () => first.stop().catch(() => {})});
  });

  it('an expired account is relieved by the next, and no secret is told', async () => {
    const {site, gateway} = await serve({site: {keys: [key('one'), key('two')]}, accounts: ['one', 'two'].map((n) => ({name: n, session_key: key(n)}))});
    assert.equal((await ask(gateway)).status, 200);
    site.sessions.delete(site.chatRequests()[0].key); // it ends during the run
    assert.equal((await ask(gateway)).status, 200);
    assert.equal((await ask(gateway)).status, 200);
    site.sessions.clear();
    const {error} = await checkError(await ask(gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
    for (const name of ['one', 'two']) assert.ok(!(error.message + gateway.stderr).includes(key(name)));
  });

  const rows = [
    [{status: 401, json: siteError('authentication_error', 'no')}, {status: 403, type: up, code: 'upstream_credential', noRetry: true}],
    [{status: 302, headers: {location: '/login?from=x'}}, {status: 403, type: up, code: 'upstream_credential', noRetry: true}],
    [{status: 307, headers: {location: '/app-unavailable-in-region'}}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    [{status: 403, html: '<!doctype html><title>Just a moment...</title>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    [{status: 200, html: '<html>check</html>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    [{status: 403, json: {}, headers: {'cf-mitigated': 'challenge'}}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    [{status: 429, json: siteError('rate_limit_error', 'slow'), headers: {'retry-after': '21'}}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 21}],
    [{status: 400, json: siteError('invalid_request_error', 'prompt is too long')}, {status: 400, type: 'invalid_request_error', code: 'context_length_exceeded'}],
    [{status: 400, json: siteError('invalid_request_error', 'odd')}, {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true}],
    [{status: 404, json: siteError('not_found_error', 'model: x')}, {status: 404, type: 'invalid_request_error', code: 'model_not_found'}],
    [{status: 529, json: siteError('overloaded_error', 'x')}, {status: 503, type: up, code: 'upstream_overloaded', retryAfter: 10}],
    [{status: 500, json: siteError('api_error', 'x')}, {status: 502, type: up, code: 'upstream_failed'}],
    [{status: 502, html: '<html>bad</html>'}, {status: 502, type: up, code: 'upstream_failed'}],
    [{status: 204}, {status: 502, type: up, code: 'upstream_empty'}],
    [{status: 200, json: {odd: true}}, {status: 502, type: up, code: 'upstream_protocol'}],
    ['earlyError', {status: 503, type: up, code: 'upstream_overloaded', retryAfter: 10}],
    ['empty', {status: 502, type: up, code: 'upstream_empty'}],
    ['refusal', {status: 400, type: 'invalid_request_error', code: 'content_filter', noRetry: true}],
    [[reason('end_turn')], {status: 502, type: up, code: 'upstream_cut'}],
  ];
  it('every failure is told as what it is', async () => {
    const accounts = rows.map((_, i) => ({name: `n${i}`, session_key: key(`n${i}`), organization: ORG}));
    const {site, gateway} = await serve({site: {keys: accounts.map((a) => a.session_key)}, accounts: accounts.slice(0, 1)});
    for (const [i, [plan, row]] of rows.entries()) {
      site.plans = [plan, plan, plan];
      await checkError(await ask(gateway, {stream: true}), row).catch((e) => {
        throw new Error(`${JSON.stringify(plan)}: ${e.message}`);
      });
      if (i + 1 === rows.length) break;
      gateway.write({sites: [{...gateway.config.sites[0], accounts: [accounts[i + 1]]}]}); // a fresh account for each
      const from = gateway.stderr.length;
      gateway.signal('SIGHUP');
      await gateway.logged(/reload/, {from});
    }
  });

  it('a failure after text is an event at the end', async () => {
    const {site, gateway} = await serve();
    site.next('lateError', 'cut');
    let {content, error} = checkBrokenStream(await (await ask(gateway, {stream: true})).text());
    assert.deepEqual([content, error.code], ['Half an answer', 'upstream_overloaded']);
    ({content, error} = checkBrokenStream(await (await ask(gateway, {stream: true})).text()));
    assert.deepEqual([content, error.code], ['Half', 'upstream_cut']);
  });

  it('a limit with a good answer lets the account rest until its reset', async () => {
    const {site, gateway} = await serve();
    site.next([block(0, 'text'), say('a'), limit({type: 'exceeded_limit', resetsAt: soon()}), stop]);
    assert.equal((await ask(gateway)).status, 200);
    const {error} = await checkError(await ask(gateway), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'});
    assert.match(error.message, /ready again in (8\d|90) s/);
    assert.equal(site.chatRequests().length, 1);
  });

  it('a limit in place of an answer: the next account, which stays with it', async () => {
    const {site, gateway} = await serve({site: {keys: [key('one'), key('two')]}, accounts: ['one', 'two'].map((n) => ({name: n, session_key: key(n)}))});
    site.next({status: 429, json: siteError('rate_limit_error', JSON.stringify({type: 'exceeded_limit', resetsAt: soon()}))});
    for (let i = 0; i < 3; i++) assert.equal((await ask(gateway)).status, 200);
    assert.equal(new Set(site.chatRequests().slice(1).map((r) => r.key)).size, 1);
    assert.notEqual(site.chatRequests()[0].key, site.chatRequests()[1].key);
  });

  it('a conversation that is busy is asked again after a second, a lost one is made anew', async () => {
    const {site, gateway} = await serve();
    site.next({status: 409, json: siteError('invalid_request_error', 'busy')});
    assert.equal((await ask(gateway)).status, 200);
    const [one, two] = site.chatRequests();
    assert.equal(one.path, two.path);
    assert.ok(two.at - one.at >= 990, `${two.at - one.at} ms`);
    site.next({status: 404, json: siteError('not_found_error', 'no such conversation')});
    assert.equal((await ask(gateway)).status, 200);
    const [three, four] = site.chatRequests().slice(2);
    assert.notEqual(three.path, four.path);
  });

  for (const temporary of ['refused', false]) {
    it(`a plan without temporary chats (${temporary}): ours is deleted afterwards, also when the client has left`, async () => {
      const {site, gateway} = await serve({site: {temporary}});
      const deleted = once(site, 'deleted');
      assert.equal((await ask(gateway)).status, 200);
      await within(5000, deleted, 'DELETE of the chat');
      const again = once(site, 'deleted'), stopped = once(site, 'stopped');
      const leave = new AbortController();
      let record;
      site.next(function (r, res) {
        record = r;
        this.sseHead(res);
        this.event(res, say('x'));
        leave.abort();
      });
      await ask(gateway, {stream: true}, {signal: leave.signal}).then((r) => r.text()).catch(() => {});
      await within(2000, record.aborted, 'the end at the site');
      await within(5000, stopped, 'stop_response');
      await within(5000, again, 'DELETE of the chat after the client left');
      assert.ok([...site.conversations.values()].every((c) => c.deleted));
    });
  }

  it('kept chats are lasting ones, and stay', async () => {
    const {site, gateway} = await serve({options: {keep_chats: true}});
    assert.equal((await ask(gateway)).status, 200);
    await gateway.stop();
    running.splice(running.indexOf(gateway), 1);
    assert.deepEqual([...site.conversations.values()].map((c) => [c.is_temporary, c.deleted]), [[false, false]]);
  });

  it('the transcripts of the tree give the same through the whole program, citations in their places', async () => {
    const folder = join(root, 'test/transcripts/claude_web');
    const {site, gateway} = await serve();
    for (const name of ['plain', 'thinking', 'search', 'older-form']) {
      const expected = JSON.parse(readFileSync(join(folder, `${name}.expected.json`), 'utf8'));
      site.next(function (r, res) {
        this.sseHead(res);
        res.end(readFileSync(join(folder, `${name}.sse`)));
      });
      const answer = checkStream(await (await ask(gateway, {stream: true})).text());
      assert.deepEqual([answer.content, answer.reasoning, answer.finish], [expected.content, expected.reasoning_content, expected.finish_reason], name);
      const cited = (expected.citations ?? []).map((c) => ({type: 'url_citation', url_citation: c}));
      assert.deepEqual(answer.annotations.map((a) => ({...a, url_citation: {...a.url_citation}})).length, cited.length, name);
      cited.forEach((c, i) => {
        for (const [k, v] of Object.entries(c.url_citation)) assert.equal(answer.annotations[i].url_citation[k], v, `${name} ${k}`);
      });
    }
  });

  it('a compressed stream is read', async () => {
    const {site, gateway} = await serve();
    site.next(function (r, res) {
      this.sseHead(res, {'content-encoding': 'gzip'});
      res.end(gzipSync([say('packed'), fine, stop].map((e) => `event: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`).join('')));
    });
    assert.equal((await (await ask(gateway)).json()).choices[0].message.content, 'packed');
  });

  it('the model list is the organization\'s own', async () => {
    const {site, gateway} = await serve({accounts: [{name: 'me', session_key: key('one'), organization: ORG}]});
    let ids = [];
    for (let i = 0; i < 50 && !ids.includes('claude_web/brand-new'); i++) {
      ids = (await (await fetch(`${gateway.base}/models`)).json()).data.map((m) => m.id);
      if (!site.requests.length) await within(5000, site.request((r) => r.path.startsWith('/api/bootstrap/')), 'the list');
    }
    assert.ok(ids.includes('brand-new') || ids.includes('claude_web/brand-new'), ids.join());
    assert.ok(!ids.some((id) => /old-one|not-ours|20251001/.test(id)), ids.join());
    site.next('reasoning');
    assert.equal((await ask(gateway, {model: 'claude_web/brand-new-thinking'})).status, 200);
    assert.equal(site.chatRequests()[0].json.thinking_mode, 'extended');
    assert.equal((await ask(gateway, {model: 'claude_web/claude-haiku-4-5'})).status, 200);
    assert.equal(site.chatRequests()[1].json.model, 'claude-haiku-4-5-20251001');
  });

  it('a session key that no header can carry is a config error', async () => {
    for (const [account, sentence] of [[{session_key: 'a;b'}, /session_key.*semicolon/], [{session_key: 'a b'}, /blank/], [{cookie: 'x=y'}, /sessionKey/], [{organization: ORG}, /session_key or cookie/]]) {
      const gateway = new Gateway({sites: [{name: 'c', adapter: 'claude_web', accounts: [{name: 'me', ...account}]}]});
      running.push({stop: () => gateway.stop()});
      gateway.write(gateway.config);
      const {code, stdout, stderr} = await run(['check', '-c', gateway.file]);
      assert.equal(code, 2);
      assert.match(stdout + stderr, sentence);
      for (const value of Object.values(account)) if (value !== ORG) assert.ok(!(stdout + stderr).includes(`${value}"`));
    }
  });
});
