// ioredis and node-redis before a cluster, through one address: as clients of one server, and as clients of a cluster.
// `node cluster.mjs HOST PORT`. SLOT_MOVE and PLANNED_FAILOVER are commands that change the cluster behind the proxy; the
// keys whose slots move are added to the first.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {setTimeout as sleep} from 'node:timers/promises';
import {Cluster, Redis} from 'ioredis';
import {createClient, createCluster, defineScript, RESP_TYPES} from 'redis';
import {Listeners} from './listeners.mjs';
import {Counter, counted, host, port, range, runAll} from './presented.mjs';

const ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
// Below, at and above the longest command that is sent again after a redirect, and far above all buffers.
const SIZES = [0, 1, 16_000, 16_384, 17_000, 1 << 20, 24 << 20];
const socket = {host, port};

// Both libraries send the script only where it is unknown. The comment makes it another script in each run.
const script = (name) => `${ADD} -- ${name} ${Date.now()}`;

async function ioredis(client, name) {
  const tag = `{${name}}`;
  const values = range(500).map((n) => String(n));
  await Promise.all(values.map((n) => client.set(`${name}:${n}`, n)));
  assert.deepEqual(await Promise.all(values.map((n) => client.get(`${name}:${n}`))), values);

  const pipeline = client.pipeline();
  values.forEach((n) => pipeline.incrby(`${name}:${n}`, 1).get(`${name}:${n}`));
  const replies = await pipeline.exec();
  assert.deepEqual(replies, values.flatMap((n) => [[null, Number(n) + 1], [null, String(Number(n) + 1)]]));

  await client.del(`${tag}:a`, `${tag}:b`);
  assert.deepEqual(await client.multi().incr(`${tag}:a`).set(`${tag}:b`, 'x').get(`${tag}:b`).exec(),
    [[null, 1], [null, 'OK'], [null, 'x']]);

  client.defineCommand('add', {numberOfKeys: 1, lua: script(name)});
  for (const n of range(30)) assert.equal(await client.add(`${name}:${n}`, 1), n + 2);

  const other = new Redis({host, port});
  const blocked = client instanceof Redis ? client.duplicate() : new Cluster([{host, port}]);
  for (const n of range(5)) {
    const popped = blocked.blpop(`${name}:list:${n}`, 10);
    await sleep(20);
    await other.rpush(`${name}:list:${n}`, 'x');
    assert.deepEqual(await popped, [`${name}:list:${n}`, 'x']);
  }
  const read = blocked.xread('BLOCK', 10_000, 'STREAMS', `${name}:stream`, '$');
  await sleep(50);
  await other.xadd(`${name}:stream`, '*', 'field', 'value');
  assert.deepEqual((await read)[0][1][0][1], ['field', 'value']);
  blocked.disconnect();
  other.disconnect();

  await client.mset(`${tag}:1`, '1', `${tag}:2`, '2');
  assert.deepEqual(await client.mget(`${tag}:1`, `${tag}:2`, `${tag}:none`), ['1', '2', null]);
  await client.rpush(`${tag}:list`, 'x');
  await assert.rejects(client.get(`${tag}:list`), /WRONGTYPE/);
  await client.del(`${tag}:list`);
  assert.deepEqual(await client.mget(`${name}:1`, `${name}:2`), ['3', '4']);
  await assert.rejects(client.msetnx(`${name}:1`, 'x', `${name}:2`, 'x'), /CROSSSLOT/);
  for (const size of SIZES) {
    const value = randomBytes(size);
    await client.set(`${name}:${size}`, value);
    assert.ok(value.equals(await client.getBuffer(`${name}:${size}`)));
    await client.del(`${name}:${size}`);
  }
}

async function ioredisPlain() {
  const client = new Redis({host, port});
  await ioredis(client, 'io');
  await client.watch('{io}:watched');
  const other = new Redis({host, port});
  await other.set('{io}:watched', 'changed');
  assert.equal(await client.multi().set('{io}:watched', 'lost').exec(), null);
  await client.watch('{io}:watched');
  assert.deepEqual(await client.multi().get('{io}:watched').exec(), [[null, 'changed']]);
  other.disconnect();
  client.disconnect();
}

async function ioredisCluster() {
  const client = new Cluster([{host, port}]);
  await ioredis(client, 'io-cluster');
  assert.deepEqual(client.nodes('master').map((node) => node.options.port), [port]);
  client.disconnect();
}

// `isolated` is a client of one connection, which WATCH needs.
async function nodeRedis(client, name, isolated) {
  const tag = `{${name}}`;
  const values = range(500).map((n) => String(n));
  await Promise.all(values.map((n) => client.set(`${name}:${n}`, n)));
  assert.deepEqual(await Promise.all(values.map((n) => client.get(`${name}:${n}`))), values);

  const multi = client.multi();
  values.forEach((n) => multi.incrBy(`${name}:${n}`, 1).get(`${name}:${n}`));
  assert.deepEqual(await multi.execAsPipeline(), values.flatMap((n) => [Number(n) + 1, String(Number(n) + 1)]));

  await client.del([`${tag}:a`, `${tag}:b`]);
  assert.deepEqual(await client.multi().incr(`${tag}:a`).set(`${tag}:b`, 'x').get(`${tag}:b`).exec(), [1, 'OK', 'x']);
  await isolated.watch(`${tag}:a`);
  await client.set(`${tag}:a`, 'changed');
  await assert.rejects(isolated.multi().set(`${tag}:a`, 'lost').exec(), /watched keys/);
  await isolated.watch(`${tag}:a`);
  assert.deepEqual(await isolated.multi().get(`${tag}:a`).exec(), ['changed']);

  for (const n of range(30)) assert.equal(await client.add(`${name}:${n}`, '1'), n + 2);

  const other = await createClient({socket}).connect();
  const blocked = await client.duplicate().connect();
  for (const n of range(5)) {
    const popped = blocked.blPop(`${name}:list:${n}`, 10);
    await sleep(20);
    await other.rPush(`${name}:list:${n}`, 'x');
    assert.deepEqual({...await popped}, {key: `${name}:list:${n}`, element: 'x'});
  }
  const read = blocked.xRead({key: `${name}:stream`, id: '$'}, {BLOCK: 10_000});
  await sleep(50);
  await other.xAdd(`${name}:stream`, '*', {field: 'value'});
  assert.match(JSON.stringify(await read), /"field":"value"/);
  blocked.destroy();
  other.destroy();

  await client.mSet({[`${tag}:1`]: '1', [`${tag}:2`]: '2'});
  assert.deepEqual(await client.mGet([`${tag}:1`, `${tag}:2`, `${tag}:none`]), ['1', '2', null]);
  await client.rPush(`${tag}:list`, 'x');
  await assert.rejects(client.get(`${tag}:list`), /WRONGTYPE/);
  await client.del(`${tag}:list`);
  assert.deepEqual(await client.mGet([`${name}:1`, `${name}:2`]), ['3', '4']);
  const buffers = client.withTypeMapping({[RESP_TYPES.BLOB_STRING]: Buffer});
  for (const size of SIZES) {
    const value = randomBytes(size);
    await client.set(`${name}:${size}`, value);
    assert.ok(value.equals(await buffers.get(`${name}:${size}`)));
    await client.del(`${name}:${size}`);
  }
}

const scripts = (name) => ({
  add: defineScript({
    SCRIPT: script(name), NUMBER_OF_KEYS: 1, transformReply: undefined,
    parseCommand(parser, key, by) { parser.pushKey(key); parser.push(by); },
  }),
});

async function nodePlain() {
  for (const RESP of [2, 3]) {
    const client = await createClient({RESP, socket, scripts: scripts(`node-${RESP}`)}).connect();
    await nodeRedis(client, `node-${RESP}`, client);
    await client.close();
  }
}

async function nodeCluster() {
  for (const RESP of [2, 3]) {
    const client = await createCluster({RESP, rootNodes: [{socket}], scripts: scripts(`node-cluster-${RESP}`)}).connect();
    await nodeRedis(client, `node-cluster-${RESP}`, await client.getNodeClientForKey('any'));
    assert.equal(client.masters.length, 1);
    await client.close();
  }
}

// Counts and listens with clients of each library and mode, while slots move and each replica takes the place of its master.
async function changes() {
  const counters = [];
  for (const n of range(2)) {
    counters.push(
      new Counter(`io:${n}`, new Redis({host, port})),
      new Counter(`io-cluster:${n}`, new Cluster([{host, port}])),
      new Counter(`node-2:${n}`, await createClient({RESP: 2, socket}).connect()),
      new Counter(`node-3:${n}`, await createClient({RESP: 3, socket}).connect()),
      new Counter(`node-cluster:${n}`, await createCluster({rootNodes: [{socket}]}).connect()),
    );
  }
  const waiting = `waiting:${process.pid}`;
  const popped = [new Redis({host, port}).blpop(`${waiting}:io`, 300),
    (await createClient({socket}).connect()).blPop(`${waiting}:node`, 300)];
  const listeners = await Listeners.start();
  await counted(counters);
  await listeners.assertHear();
  const keys = [...counters.map((counter) => counter.key), ...listeners.shards()];
  for (const line of [[...process.env.SLOT_MOVE.split(' '), ...keys], process.env.PLANNED_FAILOVER.split(' ')]) {
    const [command, ...words] = line;
    assert.deepEqual(await once(spawn(command, words, {stdio: 'inherit'}), 'exit'), [0, null]);
    await counted(counters);
    await listeners.assertHear();
  }
  listeners.end();
  counters.forEach((counter) => { counter.stopping = true; });
  await Promise.all(counters.map((counter) => counter.ended));
  const reader = new Redis({host, port});
  await reader.rpush(`${waiting}:io`, 'x');
  await reader.rpush(`${waiting}:node`, 'x');
  assert.match(JSON.stringify(await Promise.all(popped)), /waiting:\d+:io","x".*waiting:\d+:node","element":"x"/);
  for (const {key, acknowledged, sent} of counters) {
    const stored = Number(await reader.get(key));
    assert.ok(acknowledged <= stored && stored <= sent, `${key}: ${acknowledged} <= ${stored} <= ${sent}`);
  }
  const sum = (field) => counters.reduce((total, counter) => total + counter[field], 0);
  console.log(`  acknowledged ${sum('acknowledged')} of ${sum('sent')} commands, ${sum('errors')} read an error`);
}

await runAll([ioredisPlain, ioredisCluster, nodePlain, nodeCluster, changes]);
