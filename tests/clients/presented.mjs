// ioredis and node-redis as clients of one server, of a sentinel and of a cluster, all through one address.
// `node presented.mjs HOST PORT [SENTINEL_PORT]`; with a third port, that one is a listener that is only a sentinel.
// PLANNED_FAILOVER is a command that changes the master behind the proxy. The same clients go on after it.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {setTimeout as sleep} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {Cluster, Redis} from 'ioredis';
import {createClient, createCluster, createSentinel} from 'redis';

export const host = process.argv[2];
export const port = Number(process.argv[3]);
const sentinelPort = Number(process.argv[4] ?? port);
export const range = (n) => Array.from({length: n}, (_, i) => i);

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

// Counts up with one client, without a pause.
export class Counter {
  constructor(name, client) {
    Object.assign(this, {key: `counter:${process.pid}:${name}`, client, sent: 0, acknowledged: 0, errors: 0, stopping: false});
    this.ended = this.run();
  }

  async run() {
    while (!this.stopping) {
      this.sent++;
      try {
        await this.client.incr(this.key);
        this.acknowledged++;
      } catch (error) {
        // A command in flight when the master changes. It may have run, and is not sent again.
        assert.match(String(error), /this command may or may not have run/, this.key);
        this.errors++;
      }
    }
  }
}

// Waits until each client has counted on.
export async function counted(counters) {
  const goals = counters.map((counter) => counter.acknowledged + 20);
  const end = Date.now() + 20_000;
  while (counters.some((counter, n) => counter.acknowledged < goals[n])) {
    assert.ok(Date.now() < end, counters.map((counter) => `${counter.key} ${counter.acknowledged}`).join(', '));
    await sleep(50);
  }
}

// Counts with one client of each library and mode, before, during and after a planned failover.
async function failover() {
  const counters = [
    new Counter('io', new Redis({host, port})),
    new Counter('io-sentinel', new Redis({sentinels: [{host, port: sentinelPort}], name: 'mymaster', failoverDetector: true})),
    new Counter('io-cluster', new Cluster([{host, port}])),
    new Counter('node-2', await createClient({RESP: 2, socket: {host, port}}).connect()),
    new Counter('node-3', await createClient({RESP: 3, socket: {host, port}}).connect()),
    new Counter('node-sentinel', await createSentinel({name: 'mymaster', sentinelRootNodes: [{host, port: sentinelPort}]}).connect()),
    new Counter('node-cluster', await createCluster({rootNodes: [{socket: {host, port}}]}).connect()),
  ];
  const heard = {io: 0, node: 0};
  // Without a listener of 'error', an unexpected reply would end the process.
  const io = new Redis({host, port});
  await io.subscribe('news');
  io.on('message', () => { heard.io++; });
  const node = await createClient({socket: {host, port}}).on('error', () => {}).connect();
  await node.subscribe('news', () => { heard.node++; });
  await counted(counters);
  const [command, ...words] = process.env.PLANNED_FAILOVER.split(' ');
  assert.deepEqual(await once(spawn(command, words, {stdio: 'inherit'}), 'exit'), [0, null]);
  await counted(counters);
  // Both libraries have subscribed again at the new master.
  const publisher = new Redis({host, port});
  const end = Date.now() + 20_000;
  while (!heard.io || !heard.node) {
    assert.ok(Date.now() < end, JSON.stringify(heard));
    await publisher.publish('news', 'from the new master');
    await sleep(20);
  }
  counters.forEach((counter) => { counter.stopping = true; });
  await Promise.all(counters.map((counter) => counter.ended));
  for (const {key, acknowledged, sent} of counters) {
    const stored = await publisher.incrby(key, 0);
    assert.ok(acknowledged <= stored && stored <= sent, `${key}: ${acknowledged} <= ${stored} <= ${sent}`);
  }
  const sum = (field) => counters.reduce((total, counter) => total + counter[field], 0);
  console.log(`  acknowledged ${sum('acknowledged')} of ${sum('sent')} commands, ${sum('errors')} read an error`);
}

// Runs one part after the other, and exits: some clients stay connected.
export async function runAll(parts) {
  for (const part of parts) {
    const started = Date.now();
    await part();
    console.log(`${part.name}: passed, ${(Date.now() - started) / 1000} s`);
  }
  process.exit(0);
}

// cluster.mjs uses the functions of this file.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const parts = [ioredisStandalone, ioredisSentinel, ioredisCluster, nodeStandalone, nodeSentinel, nodeCluster];
  if (process.env.PLANNED_FAILOVER) parts.push(failover);
  await runAll(parts);
}
