// docs/compatibility.md is true: each point is there, each test that it names exists; and the few points that no other file looks at.
import assert from 'node:assert/strict';
import {existsSync, readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {describe, it} from 'node:test';
import {root, startGateway} from './lib/gateway.mjs';

const page = readFileSync(join(root, 'docs/compatibility.md'), 'utf8');
const rows = page.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| point') && !line.startsWith('| --'));

/** Where a file named in the table is. */
const find = (name) => ['test/e2e', 'test/apps', 'test/unit'].map((folder) => join(root, folder, name)).find((file) => existsSync(file));

describe('docs/compatibility.md', () => {
  it('has every point', () => {
    const points = {H: 18, L: 6, Q: 14, S: 23, W: 6, E: 9};
    const named = new Set(rows.flatMap((row) => row.split('|')[1].split(',').map((point) => point.trim())));
    for (const [letter, count] of Object.entries(points)) {
      for (let i = 1; i <= count; i++) assert.ok(named.has(`${letter}${i}`), `${letter}${i} is missing`);
    }
  });

  it('names tests that exist', () => {
    let checked = 0;
    for (const row of rows) {
      for (const [, file, name] of row.matchAll(/(\S+\.(?:test\.mjs|c)) › `([^`]+)`/g)) {
        const path = find(file);
        assert.ok(path, `there is no ${file}`);
        assert.ok(readFileSync(path, 'utf8').includes(name), `${file} has no test "${name}"`);
        checked++;
      }
    }
    assert.ok(checked > 90, `only ${checked} tests are named`);
  });

  it('names files that exist', () => {
    for (const [, file] of page.matchAll(/`((?:gateway|sse|adapters|base)\/[a-z_]+\.(?:c|cpp|h))`/g)) assert.ok(existsSync(join(root, file)), file);
  });

  it('has a test for each row', () => {
    for (const row of rows.filter((row) => /^\| [HLQSWE]\d/.test(row))) assert.match(row, / › `/, row);
  });
});

describe('models', () => {
  const all = () => startGateway({sites: [{name: 'demo', adapter: 'demo'},
    {name: 'zai', adapter: 'zai', base_url: 'http://127.0.0.1:1', accounts: [{name: 'a', token: 'x'}]}, {name: 'sophnet', adapter: 'sophnet', accounts: [{name: 'a', api_key: 'x'}]}]});

  it('no built-in model has a word that LobeChat hides', async () => {
    const gateway = await all();
    try {
      const {data} = await (await fetch(`${gateway.base}/models`)).json();
      assert.ok(data.length > 15);
      for (const {id} of data) assert.doesNotMatch(id, /embedding|davinci|curie|moderation|ada|babbage|tts|whisper|dall-e/, id);
    } finally {
      await gateway.stop();
    }
  });

  it('model entries have four keys, of the right types, and ids of their own', async () => {
    const gateway = await all();
    try {
      const {object, data} = await (await fetch(`${gateway.base}/models`)).json();
      assert.equal(object, 'list');
      assert.equal(new Set(data.map((m) => m.id)).size, data.length);
      for (const model of data) {
        assert.deepEqual(Object.keys(model), ['id', 'object', 'created', 'owned_by']);
        assert.deepEqual([typeof model.id, model.object, Number.isInteger(model.created), typeof model.owned_by], ['string', 'model', true, 'string']);
        assert.ok(model.created > 1_600_000_000 && model.created < 10_000_000_000, 'seconds');
      }
      const one = await (await fetch(`${gateway.base}/models/${encodeURIComponent(data[0].id)}`)).json();
      assert.deepEqual(one, data[0]);
    } finally {
      await gateway.stop();
    }
  });
});

it("no message of ours opens SillyTavern's moderation notice", () => {
  for (const folder of ['gateway', 'adapters', 'base']) {
    for (const name of readdirSync(join(root, folder))) assert.doesNotMatch(readFileSync(join(root, folder, name), 'utf8'), /requires moderation/i, name);
  }
});
