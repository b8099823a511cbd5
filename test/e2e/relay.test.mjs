// /v1/embeddings, /v1/images, /v1/audio: passed through to services that have them, bytes for bytes.
import assert from 'node:assert/strict';
import {randomBytes} from 'node:crypto';
import {after, afterEach, before, describe, it} from 'node:test';
import OpenAI, {toFile} from 'openai';
import {OpenAiSite} from '../sites/openai.mjs';
import {within} from '../sites/site.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError} from './lib/http.mjs';

describe('requests that are not chats', () => {
  let site, gateway, client;
  before(async () => {
    site = await new OpenAiSite({models: ['gpt-test', 'embed', 'voice', 'ear', 'painter']}).start();
    gateway = await startGateway({sites: [
      {name: 'demo', adapter: 'demo'},
      {name: 'up', adapter: 'openai', ...site.config({accounts: [{name: 'a', api_key: 'sk-upstream'}]})},
      {name: 'two', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, accounts: [{name: 'a', api_key: 'sk-wrong'}]})},
    ], models: [{id: 'either', targets: ['demo/echo', 'two/embed', 'up/embed']}]});
    client = new OpenAI({baseURL: gateway.base, apiKey: 'x', maxRetries: 0});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual(site.violations, []));
  const posted = () => site.requests.filter((r) => r.method === 'POST').at(-1); // the model list is fetched at any time
  const post = (path, body, options) => chat(gateway.base, body, {path, ...options});

  it('embeddings, with the SDK', async () => {
    const {data, usage} = await client.embeddings.create({model: 'up/embed', input: ['alpha', 'beta'], encoding_format: 'float'});
    assert.deepEqual(data.map((d) => d.embedding), [[5, 0.25], [4, 0.25]]);
    assert.equal(usage.total_tokens, 2);
    const sent = posted();
    assert.deepEqual([sent.path, sent.json.model, sent.headers['content-type']], ['/v1/embeddings', 'embed', 'application/json']);
    await gateway.logged(/relay .*model=up\/embed .*status=200 end=complete/);
  });

  it('everything but the model stays byte for byte', async () => {
    const answer = await post('/embeddings', ' {"input" : "a\\u00e9", "x":[1.10 , 9007199254740993],\n"model":"up\\/embed","n":null } ');
    assert.equal(answer.headers.get('content-type'), 'application/json');
    await answer.text();
    assert.equal(posted().body.toString(), '{"input" : "a\\u00e9", "x":[1.10 , 9007199254740993],\n"model":"embed","n":null }');
  });

  it('pictures', async () => {
    const {data} = await client.images.generate({model: 'up/painter', prompt: 'a cat'});
    assert.equal(data[0].b64_json, Buffer.from('a cat').toString('base64'));
  });

  it('speech: bytes of another type, several megabytes', async () => {
    site.speech = randomBytes(5_000_000);
    const response = await client.audio.speech.create({model: 'up/voice', voice: 'alloy', input: 'hi'});
    assert.equal(response.headers.get('content-type'), 'audio/mpeg');
    assert.ok(Buffer.from(await response.arrayBuffer()).equals(site.speech));
  });

  it('transcriptions: a form with a file', async () => {
    const sound = randomBytes(300_000);
    const {text} = await client.audio.transcriptions.create({model: 'up/ear', file: await toFile(sound, 'a.wav'), language: 'de'});
    assert.equal(text, `300000 bytes heard by ear in de`);
    assert.ok(posted().body.includes(sound));
  });

  it('a target that has it is found, past one that has not and one whose key is refused', async () => {
    const {data} = await client.embeddings.create({model: 'either', input: 'xyz', encoding_format: 'float'});
    assert.deepEqual(data[0].embedding, [3, 0.25]);
  });

  it('a site without it: a well-formed 404', async () => {
    const wanted = {status: 404, type: 'invalid_request_error', code: 'unknown_url'};
    const {error} = await checkError(await post('/embeddings', {model: 'demo/echo', input: 'x'}), wanted);
    assert.match(error.message, /\/embeddings/);
    await checkError(await post('/embeddings', {model: 'up/gpt-test', input: 'x'}), wanted); // the service says so
    await checkError(await post('/moderations', {input: 'x'}), wanted);
    await checkError(await post('/audio/other', {model: 'up/voice'}), wanted);
  });

  it('bad requests are named', async () => {
    const bad = {status: 400, type: 'invalid_request_error'};
    await checkError(await post('/embeddings', {input: 'x'}), {...bad, code: 'invalid_value', param: 'model'});
    await checkError(await post('/embeddings', '{"model":'), {...bad, code: 'invalid_json'});
    await checkError(await post('/embeddings', {model: 'up/none/such', input: 'x'}, {}), {status: 404, type: 'invalid_request_error', code: 'unknown_url'});
    for (const body of ['', 'no form', '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nup/ear', '--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
      '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n\r\n--b--\r\n']) {
      await checkError(await post('/audio/transcriptions', body, {headers: {'content-type': 'multipart/form-data; boundary=b'}}), {...bad, code: 'invalid_value', param: 'model'});
    }
    assert.equal((await fetch(`${gateway.base}/embeddings`)).status, 405);
  });

  it('a model named twice is refused: the site could take the other one than the key was asked for', async () => {
    const bad = {status: 400, type: 'invalid_request_error', code: 'invalid_value', param: 'model'};
    await checkError(await post('/embeddings', '{"model":"up/embed","input":"x","mod\\u0065l":"up/embed"}'), bad);
    const field = (disposition, value) => `--b\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${value}\r\n`;
    const form = (...fields) => post('/audio/transcriptions', `${fields.join('')}--b--\r\n`, {headers: {'content-type': 'multipart/form-data; boundary=b'}});
    await checkError(await form(field('name="model"', 'up/ear'), field('name="model"', 'other'), field('name="file"; filename="a"', 'x')), bad);
    // A file whose name looks like a parameter is no second one.
    const {text} = await (await form(field('filename="a; name=model; \\"b"; name="file"', 'up/none'), field('name="model"', 'up/ear'), field('name="language"', 'de'))).json();
    assert.equal(text, '7 bytes heard by ear in de');
  });

  it('a form of very many parts does not hold up the others', async () => {
    const begun = Date.now();
    await checkError(await post('/audio/transcriptions', `${'--b'.repeat(200_000)}\r\n\r\n`, {headers: {'content-type': 'multipart/form-data; boundary=b'}}),
      {status: 400, type: 'invalid_request_error', code: 'invalid_value', param: 'model'});
    assert.ok(Date.now() - begun < 10_000, `${Date.now() - begun} ms`);
  });

  it("the site's failures become ours", async () => {
    site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '7'}});
    const response = await post('/embeddings', {model: 'up/embed', input: 'x'});
    assert.equal(response.headers.get('retry-after'), '7');
    await checkError(response, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'});
  });
});

describe('relays that break', () => {
  let site, gateway;
  before(async () => {
    site = await new OpenAiSite().start();
    gateway = await startGateway({sites: [{name: 'up', adapter: 'openai', ...site.config({accounts: [{name: 'a', api_key: 'sk-upstream'}]})}]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });

  it('a cut body is cut for the client too, never whole', async () => {
    site.plans.push(function (r, res) {
      res.writeHead(200, {'content-type': 'audio/mpeg', 'content-length': '1000'});
      res.write('half', () => setTimeout(() => res.destroy(), 50));
    });
    const response = await chat(gateway.base, {model: 'up/voice', input: 'x'}, {path: '/audio/speech'});
    assert.equal(response.status, 200);
    await assert.rejects(response.arrayBuffer());
    await gateway.logged(/relay .*end=cut/);
  });

  it("the client's leaving ends the site's work", async () => {
    let record;
    const begun = new Promise((resolve) => site.plans.push(function (r, res) {
      record = r;
      res.writeHead(200, {'content-type': 'audio/mpeg'});
      res.write('first', resolve);
    }));
    const stop = new AbortController();
    const response = await chat(gateway.base, {model: 'up/voice', input: 'x'}, {path: '/audio/speech', signal: stop.signal});
    await begun;
    stop.abort();
    await response.text().catch(() => {});
    await within(2000, record.aborted, 'the end of the request');
    await gateway.logged(/relay .*end=cancelled/);
  });
});
