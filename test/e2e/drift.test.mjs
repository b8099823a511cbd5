// A site's protocol moves: what the adapter does not know is counted, said once an hour, and shown by dragoman accounts.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {ChatGlm, SIGN_SECRET, event, finish, jwt, say} from '../sites/chatglm.mjs';
import {run, startGateway} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';

const CONTENT = 'nobody should log this';
const drifting = [event('init', {id: 'm', logic_id: 'z', status: 'init', content: [{type: 'hologram', hologram: CONTENT}]}), event(CONTENT), ...say('a', 'text', 'Hello'), finish];

describe('drift', {timeout: 60000}, () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const serve = async () => {
    const refresh = jwt('refresh');
    const site = await new ChatGlm({refreshTokens: [refresh]}).start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'glm', adapter: 'chatglm', ...site.config({options: {sign_secret: SIGN_SECRET}}), accounts: [{name: 'me', refresh_token: refresh}]}]});
    running.push(gateway);
    const ask = async () => (await (await chat(gateway.base, {model: 'glm/glm-5.3', ...user('x')})).json()).choices[0].message.content;
    const accounts = (...words) => run(['accounts', '-c', gateway.file, ...words]);
    return {site, gateway, ask, accounts};
  };

  it('is counted by kind and said once, and its content nowhere', async () => {
    const {site, gateway, ask, accounts} = await serve();
    assert.equal(await ask(), '你好, world 🌍');
    assert.deepEqual(JSON.parse((await accounts('--json')).stdout).drift, []);
    assert.doesNotMatch((await accounts()).stdout, /DRIFT/);
    for (let i = 0; i < 3; i++) {
      site.next(drifting);
      assert.equal(await ask(), 'Hello');
    }
    const {drift} = JSON.parse((await accounts('--json')).stdout);
    assert.deepEqual(drift.map(({last, ...rest}) => rest), [
      {site: 'glm', kind: 'unknown content type', last_hour: 3, total: 3}, {site: 'glm', kind: 'unknown status', last_hour: 3, total: 3}]);
    for (const {last} of drift) assert.ok(Math.abs(last - Date.now() / 1000) < 10, `${last}`);
    const {stdout} = await accounts();
    assert.match(stdout, /^SITE +DRIFT IN THE LAST HOUR +TIMES +LAST$/m);
    assert.match(stdout, /^glm +unknown content type +3 +\d\d:\d\d:\d\d \(\d+ s ago\)$/m);
    const said = gateway.stderr.split('\n').filter((line) => / warn .*does not know/.test(line));
    assert.deepEqual(said.map((line) => /know: ([^(]+) \(/.exec(line)?.[1]), ['unknown content type', 'unknown status']);
    assert.ok(!(gateway.stderr + stdout).includes(CONTENT) && !gateway.stderr.includes('hologram'));
  });

  it('without a running gateway nothing is known of it', async () => {
    const {site, gateway, ask, accounts} = await serve();
    site.next(drifting);
    await ask();
    gateway.signal('SIGTERM');
    await gateway.exit();
    assert.deepEqual(JSON.parse((await accounts('--json')).stdout).drift, []);
  });
});
