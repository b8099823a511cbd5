// An OpenAI-like upstream for the benchmark: each request gets `chunks` events, one every `gap` ms, each stamped with the time it was sent.
// On a port chosen by the kernel; printed are its base URL and, with the argument `tls`, its authority's file.
import http from 'node:http';
import https from 'node:https';
import {certificates} from '../sites/certs.mjs';

const now = () => Number(process.hrtime.bigint() / 1000n); // microseconds, the same clock for all processes of this machine
const tls = process.argv[2] === 'tls' ? certificates() : null;
const serve = (handler) => tls ? https.createServer(tls.good, handler) : http.createServer(handler);
const server = serve((req, res) => {
  let body = '';
  req.on('data', (piece) => (body += piece));
  req.on('end', () => {
    if (req.url.endsWith('/models')) return res.end('{"data":[{"id":"paced"}]}');
    const [chunks, gap] = JSON.parse(body).messages[0].content.split(' ').map(Number);
    let sent = 0;
    res.writeHead(200, {'content-type': 'text/event-stream'});
    const timer = setInterval(() => {
      if (sent++ < chunks) {
        const delta = {content: `${now()} `};
        return res.write(`data: ${JSON.stringify({id: 'x', object: 'chat.completion.chunk', created: 1, model: 'paced',
          choices: [{index: 0, delta, finish_reason: null}]})}\n\n`);
      }
      clearInterval(timer);
      res.end('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    }, gap);
    res.on('close', () => clearInterval(timer));
  });
});
server.listen(0, '127.0.0.1', 8192, () => console.log(tls ? `https://localhost:${server.address().port}/v1 ${tls.ca}` : `http://127.0.0.1:${server.address().port}/v1 `));
process.on('SIGTERM', () => process.exit());
