// A site that means harm, or has gone mad: what it costs, and that nothing of it stays.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {resident, settled} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';

const running = [];
async function serve(options) {
  const site = await new OpenAiSite({tls: false}).start();
  running.push(site);
  const gateway = await startGateway({sites: [{name: 's', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]}, options);
  running.push(gateway);
  return {site, gateway, ask: () => chat(gateway.base, {model: 's/m', ...user('hello')})};
}
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});

describe('answers of a hostile site', {timeout: 60000}, () => {
  it('one with millions of values in it: they are not passed on, and cost no memory when it is over', async () => {
    const {site, gateway, ask} = await serve({env: {ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:quarantine_size_mb=1'}});
    assert.equal((await ask()).status, 200); // what is made once is made now
    await settled(gateway);
    const before = resident(gateway), values = `[${'1,'.repeat(6e6)}1]`;
    site.next((r, res) => res.end(`{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"x":${values}}`));
    const answer = await ask();
    assert.equal(answer.status, 200);
    const {x, choices} = await answer.json(); // as for fields that have no room
    assert.deepEqual([x, choices[0].message.content], [undefined, 'hello']);
    assert.equal((await ask()).status, 200);
    await settled(gateway);
    const more = resident(gateway) - before;
    assert.ok(more < 60 * 1024, `${more} KiB more`);
  });

  for (const [what, choices] of [['choices', `[${'{},'.repeat(60000)}{}]`], ['parts', `[{"index":0,"message":{"role":"assistant","content":[${'1,'.repeat(60000)}"hello"]},"finish_reason":"stop"}]`]]) {
    it(`one of 60,000 ${what} is refused`, async () => {
      const {site, ask} = await serve();
      site.next((r, res) => res.end(`{"choices":${choices}}`));
      const answer = await ask(), {error} = await answer.json();
      assert.deepEqual([answer.status, error.code], [502, 'upstream_protocol']);
      assert.match(error.message, /more than 50000/);
    });
  }
});
