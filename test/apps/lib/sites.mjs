// The gateway as SillyTavern's person has it: a key, and a site of each kind, good and bad.
import {FaultsSite} from '../../sites/faults.mjs';
import {OpenAiSite} from '../../sites/openai.mjs';
import {Zai, jwt} from '../../sites/zai.mjs';
import {startGateway} from '../../e2e/lib/gateway.mjs';

export const KEY = 'sk-tavern-0123456789abcdef';

/** The faults that a person meets, each with an account of its own: a site that limits us must not change what another does. */
const FAULTS = {limited: 'status-429', guarded: 'html-200', broken: 'half-close'};
export const faulty = (name) => `${name}/${FAULTS[name]}`;

export async function startSites(server = {}) {
  const token = jwt('person');
  const zai = await new Zai({tokens: [token]}).start();
  const open = await new OpenAiSite().start();
  const faults = await new FaultsSite().start();
  const gateway = await startGateway({server, keys: [{name: 'tavern', key: KEY}], sites: [
    {name: 'demo', adapter: 'demo'},
    {name: 'zai', adapter: 'zai', ...zai.config(), accounts: [{name: 'me', token}]},
    {name: 'open', adapter: 'openai', ...open.config({base_url: `${open.origin}/v1`, max_concurrent: 1}), accounts: [{name: 'me', api_key: 'sk-upstream'}]},
    ...Object.entries(FAULTS).map(([name, fault]) => ({
      name, adapter: 'openai', models: [fault], ...faults.config(), accounts: [{name: 'me', api_key: 'sk-secret-upstream'}],
    })),
  ]});
  return {gateway, zai, open, async stop() {
    try {
      await gateway.stop();
    } finally {
      await Promise.all([zai, open, faults].map((site) => site.stop()));
    }
  }};
}
