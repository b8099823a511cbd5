// docs/adding-a-site.md is true: its code is the code.
import assert from 'node:assert/strict';
import {existsSync, readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {describe, it} from 'node:test';
import {root} from './lib/gateway.mjs';

describe('the walk through an adapter', () => {
  const text = readFileSync(join(root, 'docs/adding-a-site.md'), 'utf8');
  const files = [...readdirSync(join(root, 'adapters')).filter((f) => f.startsWith('chatglm')).map((f) => join('adapters', f)), 'test/unit/test_chatglm_stream.c'];
  const sources = files.map((file) => readFileSync(join(root, file), 'utf8'));
  const blocks = [...text.matchAll(/^```c\n([^]*?)\n```$/gm)].map(([, code]) => code);

  it('shows code that stands in the sources, word for word', () => {
    assert.ok(blocks.length > 10, `only ${blocks.length} pieces of code`);
    for (const block of blocks) assert.ok(sources.some((source) => source.includes(block)), `nowhere in the sources:\n${block}`);
  });

  it('names files and functions that exist', () => {
    for (const [, path] of text.matchAll(/`((?:adapters|base|docs|test)\/[\w./-]+\.\w+)`/g)) assert.ok(existsSync(join(root, path)), path);
    const headers = ['adapters/support.h', 'adapters/site.h', 'adapters/adapter.h'].map((file) => readFileSync(join(root, file), 'utf8')).join('');
    for (const name of ['collect_uploads', 'request_ready', 'account_credential', 'account_hold', 'account_held', 'account_drop', 'account_newest', 'token_use_next', 'run_drift',
      'growing_whole', 'sources_add', 'mark_filter_feed', 'sources_cite', 'read_https_url', 'classify_http', 'read_model_wish', 'base_model_id']) {
      assert.ok(text.includes(name) && new RegExp(`\\b${name}\\(`).test(headers), name);
    }
  });
});
