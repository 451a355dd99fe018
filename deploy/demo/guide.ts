// What `npm start` prints: one line to copy for each thing the mesh does, with the ports of this run.

import type { Mesh } from './mesh.ts';

export function printGuide(mesh: Mesh): void {
  const web = mesh.instance('web');
  const orders = mesh.instance('orders-1');
  const { outbound, ai, metrics, admin } = web.sidecar.ports;
  const api = `--api http://127.0.0.1:${mesh.controlPlane.ports['api']} --admin-token-file ${mesh.adminTokenFile}`;
  const inbound = `--admin 127.0.0.1:${orders.sidecar.ports['admin']} --direction inbound`;
  const chat = '{"model":"assistant","stream":true,"messages":[{"role":"user","content":"hello there"}]}';
  const order = '{"sku":"lamp","quantity":2,"amount":59}';
  const lines: [string, string][] = [
    [
      'an order, placed at web: orders asks inventory (gRPC) and scorer (JSON to gRPC)',
      `curl -s http://127.0.0.1:${web.appPort}/orders -d '${order}'`,
    ],
    [
      'through the sidecar of web; say it ten times and see v1 and v2',
      `curl -s -H 'host: orders' http://127.0.0.1:${outbound}/orders/7`,
    ],
    ['forbidden', `curl -si -X DELETE -H 'host: orders' http://127.0.0.1:${outbound}/orders/7`],
    [
      'and why',
      `npm exec weft -- explain ${inbound} --caller spiffe://mesh.local/ns/default/sa/web DELETE http://orders/orders/7`,
    ],
    [
      'why a request goes where it goes',
      `npm exec weft -- explain --admin 127.0.0.1:${admin} GET http://orders/orders/7`,
    ],
    [
      'a model server that speaks gRPC only, asked in JSON',
      `curl -s http://127.0.0.1:${orders.sidecar.ports['local:scorer']}/v1/score -H 'content-type: application/json' -d '{"amount":950,"quantity":8,"accountAgeDays":2,"ordersLastHour":4}'`,
    ],
    [
      'a streamed chat completion, without a key',
      `curl -sN http://127.0.0.1:${ai}/v1/chat/completions -H 'content-type: application/json' -d '${chat}'`,
    ],
    ['its tokens and cost', `curl -s http://127.0.0.1:${metrics}/metrics | grep weft_ai`],
    ['who is in sync, what is wrong', `npm exec weft -- status ${api}`],
    ['resources', `npm exec weft -- get Endpoint ${api}`],
  ];
  for (const [what, command] of lines) console.log(`# ${what}\n${command}\n`);
  console.log(`Edit the files in ${mesh.policies} while it runs: a weight in routes.yaml counts within a second.`);
  console.log('The spans of each request are printed here. Ctrl-C ends everything.\n');
}
