// ioredis and node-redis as clients of one server, of a sentinel and of a cluster, all through one address.
// `node presented.mjs HOST PORT [SENTINEL_PORT]`; with a third port, that one is a listener that is only a sentinel.
import assert from 'node:assert/strict';
import {Cluster, Redis} from 'ioredis';
import {createClient, createCluster, createSentinel} from 'redis';

const host = process.argv[2];
const port = Number(process.argv[3]);
const sentinelPort = Number(process.argv[4] ?? port);
const range = (n) => Array.from({length: n}, (_, i) => i);

async function use(client, name) {
  await client.set(`${name}:a`, '1');
  assert.equal(await client.get(`${name}:a`), '1');
  const values = await Promise.all(range(50).map((n) => client.set(`${name}:${n}`, String(n))));
  assert.ok(values.every((value) => value === 'OK'));
  assert.equal(await client.get(`${name}:49`), '49');
}

async function ioredisStandalone() {
  const client = new Redis({host, port});
  await use(client, 'io');
  await client.quit();
}

async function ioredisSentinel() {
  const client = new Redis({sentinels: [{host, port: sentinelPort}], name: 'mymaster', failoverDetector: true});
  await use(client, 'io-sentinel');
  assert.match(await client.info('server'), new RegExp(`tcp_port:${port}\r\n`));
  client.disconnect();
}

async function ioredisCluster() {
  const client = new Cluster([{host, port}]);
  await use(client, 'io-cluster');
  assert.deepEqual(client.nodes('master').map((node) => node.options.port), [port]);
  client.disconnect();
}

async function nodeStandalone() {
  for (const RESP of [2, 3]) {
    const client = await createClient({RESP, socket: {host, port}}).connect();
    await use(client, 'node');
    await client.close();
  }
}

async function nodeSentinel() {
  const client = await createSentinel({name: 'mymaster', sentinelRootNodes: [{host, port: sentinelPort}]}).connect();
  await use(client, 'node-sentinel');
  await client.close();
}

async function nodeCluster() {
  const client = await createCluster({rootNodes: [{socket: {host, port}}]}).connect();
  await use(client, 'node-cluster');
  assert.equal(client.masters.length, 1);
  await client.close();
}

for (const part of [ioredisStandalone, ioredisSentinel, ioredisCluster, nodeStandalone, nodeSentinel, nodeCluster]) {
  const started = Date.now();
  await part();
  console.log(`${part.name}: passed, ${(Date.now() - started) / 1000} s`);
}
process.exit(0);
