// An OpenAI-like upstream for the benchmark: each request gets `chunks` events, one every `gap` ms, each stamped with the time it was sent.
// Plain HTTP on a port chosen by the kernel; the port is printed.
import http from 'node:http';

const now = () => Number(process.hrtime.bigint() / 1000n); // microseconds, the same clock for all processes of this machine
const server = http.createServer((req, res) => {
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
server.listen(0, '127.0.0.1', 8192, () => console.log(server.address().port));
