// GET /metrics: what it counts, that Prometheus can read it, who may, and that nothing of a client or a secret gets into it.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {after, afterEach, before, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {settled} from './lib/clients.mjs';
import {root, startGateway} from './lib/gateway.mjs';
import {chat, checkError, raw, request, user} from './lib/http.mjs';
import {parsePrometheus, valueOf} from './lib/prometheus.mjs';

const KEY = 'sk-metrics-test-key-1234';
const auth = {authorization: `Bearer ${KEY}`};

async function scrape(gateway, headers = {}) {
  const response = await fetch(`${gateway.origin}/metrics`, {headers});
  const text = await response.text();
  assert.equal(response.status, 200, text);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  return {response, text, families: parsePrometheus(text)};
}

describe('metrics', {timeout: 60000}, () => {
  let site, gateway;
  before(async () => {
    site = await new OpenAiSite().start();
    gateway = await startGateway({
      keys: [{name: 'cherry', key: KEY}],
      sites: [
        {name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'main', api_key: 'sk-upstream'}]},
        {name: 'demo', adapter: 'demo'}],
      models: [{id: 'both', targets: ['up/gpt-test', 'demo/echo']}],
    });
  });
  after(async () => {
    await gateway.stop();
    await site.stop();
  });
  afterEach(() => assert.deepEqual(site.violations, []));
  const ask = async (body, headers = auth) => {
    const response = await chat(gateway.base, body, {headers});
    await response.text();
    await settled(gateway);
    return response;
  };

  it('is there before anything was asked', async () => {
    const {families} = await scrape(gateway);
    assert.ok(valueOf(families, 'process_resident_memory_bytes') > 1e6);
    assert.ok(valueOf(families, 'process_open_fds') > 5);
    assert.ok(Math.abs(valueOf(families, 'process_start_time_seconds') - Date.now() / 1000) < 60);
    assert.equal(valueOf(families, 'dragoman_build_info'), 1);
    assert.ok(valueOf(families, 'dragoman_client_connections') >= 1);
    assert.ok(valueOf(families, 'dragoman_loop_busy_seconds_count') > 0);
    assert.equal(valueOf(families, 'dragoman_account_state', {site: 'up', account: 'main', state: 'ready'}), 1);
    assert.equal(valueOf(families, 'dragoman_queue_length', {site: 'up'}), 0);
  });

  it('counts a request by API, site, model, key and end', async () => {
    const labels = {api: 'chat', site: 'up', model: 'up/gpt-test', key: 'cherry', end: 'complete'};
    const before = (await scrape(gateway)).families;
    for (const stream of [false, true, true]) await ask({model: 'up/gpt-test', stream, ...user('Hello there')});
    const {families} = await scrape(gateway);
    const grown = (name, by) => (valueOf(families, name, by) ?? 0) - (valueOf(before, name, by) ?? 0);
    assert.equal(grown('dragoman_requests_total', labels), 3);
    assert.equal(grown('dragoman_request_seconds_count', {site: 'up'}), 3);
    assert.equal(grown('dragoman_first_delta_seconds_count', {site: 'up'}), 3);
    assert.ok(grown('dragoman_deltas_total', {site: 'up'}) >= 3);
    assert.ok(grown('dragoman_request_bytes_total', {site: 'up'}) > 150);
    assert.ok(grown('dragoman_response_bytes_total', {site: 'up'}) > 500);
    assert.equal(grown('dragoman_prompt_tokens_total', {site: 'up'}), 3 * 4);
    assert.equal(grown('dragoman_completion_tokens_total', {site: 'up'}), 3 * 5);
    assert.equal(grown('dragoman_site_requests_total', {connection: 'new'}) + grown('dragoman_site_requests_total', {connection: 'reused'}), 3);
    assert.ok(valueOf(families, 'dragoman_tls_handshakes_total', {kind: 'full'}) >= 1);
  });

  it('counts what failed at a site although the answer came from elsewhere', async () => {
    site.next({status: 500, json: {error: {message: 'out of order'}}});
    assert.equal((await ask({model: 'both', ...user('x')})).status, 200);
    const {families} = await scrape(gateway);
    assert.equal(valueOf(families, 'dragoman_site_failures_total', {site: 'up', kind: 'unavailable'}), 1);
    assert.equal(valueOf(families, 'dragoman_requests_total', {model: 'both', site: 'demo', end: 'complete'}), 1);
  });

  it('shows accounts that rest', async () => {
    site.next({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '1'}});
    await ask({model: 'up/gpt-test', ...user('x')});
    const {families} = await scrape(gateway);
    const states = families.get('dragoman_account_state').samples.filter(({labels}) => labels.site === 'up');
    assert.deepEqual(states.map(({labels, value}) => [labels.state, value]), [['ready', 0], ['cooling', 1], ['expired', 0], ['challenged', 0]]);
    assert.ok(valueOf(families, 'dragoman_requests_total', {site: 'up', end: 'failed'}) >= 1);
  });

  it('counts refusals by their error', async () => {
    const before = (await scrape(gateway)).families;
    await ask({model: 'up/gpt-test', ...user('x')}, {authorization: 'Bearer sk-wrong'});
    await fetch(`${gateway.base}/nothing`, {headers: auth});
    const {families} = await scrape(gateway);
    for (const error of ['wrong_key', 'unknown_url']) {
      assert.equal(valueOf(families, 'dragoman_refusals_total', {error}) - (valueOf(before, 'dragoman_refusals_total', {error}) ?? 0), 1, error);
    }
  });

  it('has nothing in it that a client or a site said, and no secret', async () => {
    await ask({model: 'no-such-model-of-mine', ...user('a private sentence')});
    await ask({model: 'demo/echo', ...user('a private sentence')}, {...auth, 'user-agent': 'private-agent'});
    await ask({model: 'demo/echo', ...user('x')}, {authorization: 'Bearer sk-somebody-elses-key'});
    const {text} = await scrape(gateway);
    for (const word of ['private', 'no-such-model', 'sk-', KEY, 'somebody']) assert.ok(!text.includes(word), word);
  });

  it('wants a key of pages in a browser and of who calls us by another name', async () => {
    const refusals = {status: 401, type: 'authentication_error', code: 'missing_api_key'};
    await checkError(await fetch(`${gateway.origin}/metrics`, {headers: {origin: 'https://evil.example'}}), refusals);
    await checkError(await fetch(`${gateway.origin}/metrics`, {headers: {'sec-fetch-site': 'cross-site'}}), refusals);
    assert.equal((await raw(gateway.port, request('GET', '/metrics', {Host: 'rebound.example'}))).status, 401);
    const {response} = await scrape(gateway, {...auth, origin: 'https://evil.example'});
    assert.equal(response.headers.get('access-control-allow-origin'), null);
  });

  it('is described in docs/metrics.md, family by family', async () => {
    const {families} = await scrape(gateway);
    const text = readFileSync(join(root, 'docs/metrics.md'), 'utf8');
    const documented = [...text.matchAll(/^\| `([a-z_]+)` \| (counter|gauge|histogram) \|/gm)].map(([, name, type]) => `${name} ${type}`);
    assert.deepEqual(documented.sort(), [...families.values()].map(({name, type}) => `${name} ${type}`).sort());
  });

  it('takes GET and HEAD only', async () => {
    await checkError(await fetch(`${gateway.origin}/metrics`, {method: 'POST', headers: auth}), {status: 405, type: 'invalid_request_error', code: 'method_not_allowed'});
    assert.equal((await fetch(`${gateway.origin}/metrics`, {method: 'HEAD'})).status, 200);
  });
});
