// Every row of the error table (docs/errors.md), reached as a client would reach it.
import assert from 'node:assert/strict';
import net from 'node:net';
import {once} from 'node:events';
import {after, before, describe, it} from 'node:test';
import {FaultsSite} from '../sites/faults.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {startDemo, startGateway} from './lib/gateway.mjs';
import {Wire, chat, checkBrokenStream, checkError, checkStream, request, user} from './lib/http.mjs';

const bad = 'invalid_request_error', up = 'upstream_error';

describe('failures that a site can have, played by the demo site', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());

  const rows = [
    ['bad_request', {status: 400, type: bad, code: 'upstream_bad_request', noRetry: true}],
    ['unsupported', {status: 400, type: bad, code: 'unsupported_value'}],
    ['credential', {status: 403, type: up, code: 'upstream_credential', noRetry: true}],
    ['rate_limited 7', {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 7}],
    ['challenge', {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['unavailable', {status: 502, type: up, code: 'upstream_failed'}],
    ['overloaded 9', {status: 503, type: up, code: 'upstream_overloaded', retryAfter: 9}],
    ['content_filter', {status: 400, type: bad, code: 'content_filter', noRetry: true}],
    ['context_length', {status: 400, type: bad, code: 'context_length_exceeded'}],
    ['protocol', {status: 502, type: up, code: 'upstream_protocol'}],
    ['empty', {status: 502, type: up, code: 'upstream_empty'}],
    ['cut', {status: 502, type: up, code: 'upstream_cut'}],
    ['unreachable', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['timeout', {status: 504, type: up, code: 'upstream_timeout'}],
    ['bridge', {status: 503, type: up, code: 'bridge_not_connected', noRetry: true}],
  ];
  for (const [order, row] of rows) {
    for (const stream of [false, true]) {
      it(`${order}, ${stream ? 'streamed' : 'whole'}: ${row.status} ${row.code}`, async () => {
        await checkError(await chat(gateway.base, {model: 'demo/echo', stream, ...user(`!error ${order}`)}), row);
      });
    }
    it(`${order} after some words: an event, and no [DONE]`, async () => {
      const response = await chat(gateway.base, {model: 'demo/echo', stream: true, ...user(`!error ${order} after 2 words`)});
      assert.equal(response.status, 200);
      const {content, error} = checkBrokenStream(await response.text());
      assert.equal(content, 'Here are');
      assert.deepEqual([error.type, error.code], [row.type, row.code]);
    });
  }

  it('an unknown model: 404, with the ids that are near', async () => {
    for (const stream of [false, true]) {
      const {error} = await checkError(await chat(gateway.base, {model: 'demo/eccho', stream, ...user('x')}),
        {status: 404, type: bad, code: 'model_not_found', param: 'model'});
      assert.match(error.message, /demo\/eccho/);
      assert.match(error.message, /demo\/echo/);
    }
  });
});

describe('failures of the transport', () => {
  let faults, expired, wrongHost, selfSigned, notTls, silent, gateway;
  const accounts = [{name: 'a', api_key: 'sk-secret-upstream-key'}];
  before(async () => {
    faults = await new FaultsSite().start();
    [expired, wrongHost, selfSigned, notTls, silent] = await Promise.all(
      ['expired', 'wrongHost', 'selfSigned', 'not-tls', 'silent'].map((tls) => new FaultsSite({tls}).start()));
    const site = (name, s, more = {}) => ({name, adapter: 'openai', ...s.config({connect_timeout: '700ms', first_byte_timeout: '900ms', idle_timeout: '700ms', accounts, ...more})});
    const closed = net.createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const port = closed.address().port;
    closed.close();
    gateway = await startGateway({sites: [
      site('faults', faults), site('expired', expired), site('wronghost', wrongHost), site('selfsigned', selfSigned), site('nottls', notTls), site('silent', silent),
      {name: 'refused', adapter: 'openai', base_url: `http://127.0.0.1:${port}/v1`, accounts},
      {name: 'nohost', adapter: 'openai', base_url: 'http://no-such-host.invalid/v1', accounts},
      {name: 'bridged', adapter: 'openai', base_url: 'https://bridged.example', transport: 'bridge', accounts},
    ]});
  });
  after(async () => {
    try {
      await gateway?.stop();
    } finally {
      for (const site of [faults, expired, wrongHost, selfSigned, notTls, silent]) await site?.stop();
    }
  });

  const rows = [
    ['expired/m', {status: 502, type: up, code: 'upstream_unreachable'}, /expired/i],
    ['wronghost/m', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['selfsigned/m', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['nottls/m', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['silent/m', {status: 504, type: up, code: 'upstream_timeout'}],
    ['refused/m', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['nohost/m', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['bridged/m', {status: 503, type: up, code: 'bridge_not_connected', noRetry: true}, /^no browser tab of bridged is connected/],
    ['faults/html-200', {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['faults/html-502', {status: 502, type: up, code: 'upstream_failed'}],
    ['faults/reset-at-once', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['faults/reset-before-text', {status: 502, type: up, code: 'upstream_cut'}],
    ['faults/close-before-head', {status: 502, type: up, code: 'upstream_unreachable'}],
    ['faults/stall-before-head', {status: 504, type: up, code: 'upstream_timeout'}],
    ['faults/stall-before-text', {status: 504, type: up, code: 'upstream_timeout'}],
    ['faults/bad-chunk-size', {status: 502, type: up, code: 'upstream_protocol'}],
    ['faults/bad-gzip', {status: 502, type: up, code: 'upstream_protocol'}],
    ['faults/garbage', {status: 502, type: up, code: 'upstream_protocol'}],
    ['faults/garbage-json', {status: 502, type: up, code: 'upstream_protocol'}],
    ['faults/garbage-events', {status: 502, type: up, code: ['upstream_protocol', 'upstream_empty', 'upstream_cut']}],
    ['faults/truncated-length', {status: 502, type: up, code: 'upstream_cut'}],
    ['faults/empty-stream', {status: 502, type: up, code: ['upstream_empty', 'upstream_cut']}],
    ['faults/only-done', {status: 502, type: up, code: 'upstream_empty'}],
    ['faults/no-content-204', {status: 502, type: up, code: ['upstream_empty', 'upstream_protocol']}],
    ['faults/redirect', {status: 502, type: up, code: 'upstream_failed'}],
    ['faults/endless-line', {status: 502, type: up, code: 'upstream_protocol'}],
    ['faults/endless-head', {status: 502, type: up, code: 'upstream_protocol'}],
    ['faults/status-402', {status: 403, type: up, code: 'upstream_credential', noRetry: true}],
    ['faults/status-404', {status: 400, type: bad, code: 'upstream_bad_request', noRetry: true}],
    ['faults/status-500', {status: 502, type: up, code: 'upstream_failed'}],
    ['faults/status-503', {status: 503, type: up, code: 'upstream_overloaded', retryAfter: 3}],
    ['faults/status-529', {status: 503, type: up, code: 'upstream_overloaded'}],
    ['faults/context-length', {status: 400, type: bad, code: 'context_length_exceeded'}],
    ['faults/content-filter', {status: 400, type: bad, code: 'content_filter', noRetry: true}],
  ];
  for (const [model, row, message] of rows) {
    it(`${model}: ${row.status} ${row.code}`, {timeout: 30000}, async () => {
      for (const stream of [true, false]) {
        const response = await chat(gateway.base, {model, stream, ...user('x')});
        const text = await response.clone().text();
        const code = JSON.parse(text).error?.code;
        const body = await checkError(response, {...row, code: [row.code].flat().includes(code) ? code : [row.code].flat()[0]});
        assert.doesNotMatch(text, /sk-secret|secret page/);
        if (message) assert.match(body.error.message, message);
      }
    });
  }

  for (const model of ['reset-after-text', 'stall-after-text', 'half-close', 'truncated-chunk', 'bad-chunk-after-text', 'truncated-tls', 'no-finish', 'error-in-stream']) {
    it(`${model}: the text, then an error`, async () => {
      const response = await chat(gateway.base, {model: `faults/${model}`, stream: true, ...user('x')});
      assert.equal(response.status, 200);
      const {content, error} = checkBrokenStream(await response.text());
      assert.equal(content, 'Half');
      const codes = {'stall-after-text': 'upstream_timeout', 'error-in-stream': 'upstream_failed', 'bad-chunk-after-text': 'upstream_protocol'};
      assert.equal(error.code, codes[model] ?? 'upstream_cut');
    });
    it(`${model}: whole, an error with what there was beside it`, async () => {
      const response = await chat(gateway.base, {model: `faults/${model}`, ...user('x')});
      assert.ok(response.status >= 500, `${response.status}`);
      const body = await response.json();
      assert.equal(body.dragoman_partial.choices[0].message.content, 'Half');
      assert.equal(body.dragoman_partial.choices[0].finish_reason, null);
    });
  }

  for (const model of ['fine', 'fine-until-close', 'drip', 'continue-first', 'after-done']) {
    it(`${model}: a good answer`, {timeout: 30000}, async () => {
      assert.equal(checkStream(await (await chat(gateway.base, {model: `faults/${model}`, stream: true, ...user('x')})).text()).content, 'Hello there');
      const whole = await (await chat(gateway.base, {model: `faults/${model}`, ...user('x')})).json();
      assert.equal(whole.choices[0].message.content, 'Hello there');
    });
  }
});

describe('accounts', () => {
  it('a limited account rests, and says until when; the next request is not sent', async () => {
    const faults = await new FaultsSite().start();
    const gateway = await startGateway({sites: [{name: 'f', adapter: 'openai', ...faults.config(), accounts: [{name: 'a', api_key: 'sk-1'}]}]});
    try {
      const row = {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'};
      await checkError(await chat(gateway.base, {model: 'f/status-429', ...user('x')}), {...row, retryAfter: 17});
      const sent = faults.requests.length;
      const response = await chat(gateway.base, {model: 'f/fine', ...user('x')});
      const wait = Number(response.headers.get('retry-after'));
      await checkError(response, row);
      assert.ok(wait >= 15 && wait <= 17, `Retry-After ${wait}`);
      assert.equal(faults.requests.length, sent);
    } finally {
      await gateway.stop();
      await faults.stop();
    }
  });

  it('a refused credential leads to the next account, and then to 403', async () => {
    const site = await new OpenAiSite({keys: ['sk-good']}).start();
    const gateway = await startGateway({sites: [{name: 's', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`}),
      accounts: [{name: 'old', api_key: 'sk-expired'}, {name: 'new', api_key: 'sk-good'}]}]});
    try {
      assert.equal((await chat(gateway.base, {model: 's/gpt-test', ...user('x')})).status, 200);
      assert.equal((await chat(gateway.base, {model: 's/gpt-test', ...user('x')})).status, 200);
      site.keys = ['sk-other'];
      await checkError(await chat(gateway.base, {model: 's/gpt-test', ...user('x')}), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
      await gateway.logged(/ site=s account=old status=403 .*error=credential/); // the one that was asked last
      assert.deepEqual(site.violations, []);
    } finally {
      await gateway.stop();
      await site.stop();
    }
  });

  it('a failing target leads to the next target of the alias', async () => {
    const faults = await new FaultsSite().start();
    const gateway = await startGateway({
      sites: [{name: 'f', adapter: 'openai', ...faults.config(), accounts: [{name: 'a', api_key: 'sk-1'}]}, {name: 'demo', adapter: 'demo'}],
      models: [{id: 'safe', targets: ['f/status-500', 'f/html-200', 'demo/echo']}],
    });
    try {
      const response = await chat(gateway.base, {model: 'safe', ...user('still here')});
      assert.equal(response.headers.get('x-dragoman-route'), 'demo/echo; tries=3');
      const answer = await response.json();
      assert.deepEqual([answer.model, answer.choices[0].message.content], ['safe', 'still here']);
      assert.ok(faults.requests.length >= 2);
    } finally {
      await gateway.stop();
      await faults.stop();
    }
  });
});

describe('limits of the gateway itself', () => {
  it('too many connections: 503 with Retry-After', async () => {
    const gateway = await startDemo({server: {max_connections: 3}});
    try {
      const wires = [];
      for (let i = 0; i < 3; i++) wires.push(await Wire.open(gateway.port));
      const one = await Wire.open(gateway.port);
      one.write(request('GET', '/health'));
      const answer = await one.answer();
      assert.equal(answer.status, 503);
      assert.ok(Number(answer.headers['retry-after']) > 0);
      assert.equal(JSON.parse(answer.body).error.code, 'overloaded');
      [one, ...wires].forEach((w) => w.close());
    } finally {
      await gateway.stop();
    }
  });

  it('features that a site lacks: 400 unsupported_value with the field', async () => {
    const gateway = await startGateway({sites: [{name: 'zai', adapter: 'zai', tools: 'refuse', structured_output: 'refuse', accounts: [{name: 'g', guest: true}]}]});
    try {
      for (const [more, param] of [[{logprobs: true}, 'logprobs'], [{response_format: {type: 'json_object'}}, 'response_format'], [{tools: [{type: 'function', function: {name: 'f'}}]}, 'tools']]) {
        const {error} = await checkError(await chat(gateway.base, {model: 'glm-4.5', ...user('x'), ...more}), {status: 400, type: bad, code: 'unsupported_value', param});
        assert.match(error.message, /^zai has no \w+; leave .* or use another model$/);
      }
      const {error} = await checkError(await chat(gateway.base, {model: 'glm-4.5', messages: [{role: 'user', content: [{type: 'input_audio', input_audio: {data: 'AAAA', format: 'wav'}}]}]}),
        {status: 400, type: bad, code: 'unsupported_value', param: 'messages[0].content[0]'});
      assert.equal(error.message, 'zai cannot take audio; leave that part out or use another model');
    } finally {
      await gateway.stop();
    }
  });
});
