// What the tests of real clients share: the key they use, the worst that can happen to them, and many calls at once.
import assert from 'node:assert/strict';
import {readdirSync, readFileSync} from 'node:fs';
import {OpenAiSite} from '../../sites/openai.mjs';
import {within} from '../../sites/site.mjs';
import {Zai, jwt} from '../../sites/zai.mjs';
import {startGateway} from './gateway.mjs';

export const KEY = 'sk-gateway-000001';

/** A service that does what the name of the model says. */
class WorstSite extends OpenAiSite {
  constructor() {
    super({models: ['fine', 'cut', 'limited', 'guarded']});
  }

  chat(r, res) {
    switch (r.json.model) {
    case 'limited':
      return this.json(res, 429, {error: {message: 'Rate limit reached for requests', type: 'requests', param: null, code: 'rate_limit_exceeded'}}, {'retry-after': '20'});
    case 'guarded': {
      const page = '<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Verify you are human</body></html>';
      res.writeHead(403, {'content-type': 'text/html; charset=UTF-8', 'content-length': page.length, 'cf-mitigated': 'challenge', server: 'cloudflare'});
      return res.end(page);
    }
    case 'cut':
      this.sseHead(res);
      for (const content of ['Half', ' an']) this.event(res, {id: 'c', object: 'chat.completion.chunk', created: 1, model: 'cut', choices: [{index: 0, delta: {content}, finish_reason: null}]});
      return setImmediate(() => r.socket.destroy());
    default:
      return super.chat(r, res);
    }
  }
}

/** The worst cases: what a person asks for, and what the gateway says. */
export const WORST = [
  {what: 'a key that is not ours', model: 'fine/fine', key: 'sk-wrong', status: 401, type: 'authentication_error', code: 'invalid_api_key',
    message: "this API key is not one of the gateway's keys ([[keys]] in gateway.toml)"},
  {what: "the site's limit", model: 'strict/limited', status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited',
    message: 'strict limits the rate of account "main"; wait, or add an account (HTTP 429): Rate limit reached for requests; ready again in N s'},
  {what: "the site's limit, met before", model: 'strict/limited', status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited',
    message: "every account of strict rests after the site's rate limit; ready again in N s"},
  {what: 'a bot check page', model: 'guarded/guarded', status: 403, type: 'upstream_error', code: 'upstream_challenge',
    message: 'guarded answered with a web page (HTTP 403): it wants to see a human, or base_url is not its API; open it in a browser once, or check base_url'},
  {what: 'a captcha instead of an answer', model: 'zai/glm-4.6', plan: 'captcha', status: 403, type: 'upstream_error', code: 'upstream_challenge',
    message: 'chat.z.ai wants its own page for this (a captcha per message): use an API key of Z.ai\'s open platform: ' +
      'adapter "openai", base_url "https://api.z.ai/api/paas/v4" (in a later version: transport = "bridge", observe mode)'},
  {what: "the site refuses our account's key", model: 'lapsed/fine', status: 403, type: 'upstream_error', code: 'upstream_credential',
    message: 'lapsed refuses the credential of account "main"; renew it (HTTP 401): Incorrect API key provided: ***'},
  {what: 'an unknown model', model: 'gpt-5', status: 404, type: 'invalid_request_error', code: 'model_not_found', param: 'model',
    message: /^there is no model "gpt-5"; near are: \S.*; GET \/v1\/models lists all$/},
  {what: 'an answer cut in the middle', model: 'flaky/cut', status: 502, type: 'upstream_error', code: 'upstream_cut', partial: 'Half an',
    message: 'flaky broke off in the middle of its answer; ask again'},
].map((c) => ({param: null, key: KEY, ...c}));

/** Exactly this sentence between the client's own words; only the seconds to wait may differ. */
export function says(text, {message}, {before = '', after = ''} = {}) {
  assert.ok(text.startsWith(before) && text.endsWith(after), `${JSON.stringify(text)} is not ${JSON.stringify(before)} … ${JSON.stringify(after)}`);
  const rest = text.slice(before.length, text.length - after.length);
  if (message instanceof RegExp) assert.match(rest, message);
  else assert.equal(rest.replace(/in \d+ s$/, 'in N s'), message);
}

/**
 * A gateway before which nobody can have a good day: {base, gateway, site, zai, prepare(case), stop()}. Each case has a site
 * of its own, so that a resting account disturbs nobody else.
 */
export async function startWorst() {
  const site = await new WorstSite().start();
  const zai = await new Zai().start();
  const entry = (name, model, key = 'sk-upstream') => ({name, adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: [model]}), accounts: [{name: 'main', api_key: key}]});
  const gateway = await startGateway({
    keys: [{name: 'ours', key: KEY}],
    sites: [entry('fine', 'fine'), entry('flaky', 'cut'), entry('strict', 'limited'), entry('guarded', 'guarded'), entry('lapsed', 'fine', 'sk-expired'),
      {name: 'zai', adapter: 'zai', ...zai.config(), accounts: [{name: 'main', token: jwt('person')}]}],
  });
  return {
    gateway, site, zai, base: gateway.base,
    prepare({plan}) {
      if (plan) zai.next(plan);
    },
    async stop() {
      try {
        await gateway.stop();
        assert.deepEqual([...site.violations, ...zai.violations], []);
      } finally {
        await site.stop();
        await zai.stop();
      }
    },
  };
}

/**
 * What a client stands before on a usual day: a gateway with a service (`up`), Z.ai (`zai`) and the demo site (`demo`), each with one
 * account that takes one request at a time. `calm()`, after each test: nothing is left over anywhere.
 */
export async function startUsual({keys} = {}) {
  const site = await new OpenAiSite().start();
  const zai = await new Zai().start();
  const gateway = await startGateway({keys, sites: [
    {name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test'], max_concurrent: 1}), accounts: [{name: 'a', api_key: 'sk-upstream'}]},
    {name: 'zai', adapter: 'zai', ...zai.config({max_concurrent: 1}), accounts: [{name: 'me', token: jwt('person')}]},
    {name: 'demo', adapter: 'demo'}]});
  return {
    site, zai, gateway,
    async calm() {
      assert.deepEqual([site.violations, site.plans, zai.violations, zai.plans], [[], [], [], []]);
      await settled(gateway);
    },
    async stop() {
      await gateway.stop();
      await site.stop();
      await zai.stop();
    },
  };
}

/** The site's next answer says hello and no more. Resolves with its record when it has. */
export function saysHello(site) {
  return new Promise((resolve) => {
    site.next(function (r, res) {
      this.sseHead(res);
      this.event(res, answerPiece({role: 'assistant', content: 'Hello'}));
      resolve(r);
    });
  });
}

/** How much the program holds: file descriptors, and resident memory in KiB. */
export const descriptors = (gateway) => readdirSync(`/proc/${gateway.child.pid}/fd`).length;
export const resident = (gateway) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8'))[1]);
export const active = async (gateway) => (await (await fetch(`${gateway.origin}/health`)).json()).active;

/** Waits until no request is under way any more; throws after `ms`. */
export async function settled(gateway, ms = 3000) {
  const end = Date.now() + ms;
  for (let n; (n = await active(gateway)) !== 0;) {
    if (Date.now() > end) throw new Error(`${n} requests are still under way`);
  }
}

/** The client has just left: the gateway leaves the site at once, in the middle of its answer. */
export async function leftAtOnce(record) {
  const left = Date.now();
  const closed = await within(5000, record.aborted, "the end of the site's request");
  assert.notEqual(closed, null, 'the site had come to its end');
  assert.ok(closed - left < 900, `${closed - left} ms later`);
}

/** One chunk as a service sends it. */
export const answerPiece = (delta, finish_reason = null) => ({id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta, finish_reason}]});
